//! Instructions per event against their baseline.

use super::stage::Stage;
use crate::counts;
use crate::failure::Failure;

pub(super) fn all(stage: &mut Stage<'_>) -> Result<(), Failure> {
    for line in counts::check(stage.workspace())? {
        println!("{line}");
        stage.note(format!("counts: {line}"));
    }
    Ok(())
}
