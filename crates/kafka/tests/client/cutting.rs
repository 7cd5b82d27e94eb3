//! Connections that are cut in the middle: a proxy between client and broker hangs up after some bytes of responses.
