//! Stopping in good order when a signal asks for it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::failure::{Failure, Result};

/// The exit code of a second signal, which does not wait.
const EXIT_CODE: i32 = 130;

/// Lets a signal set `interrupted`; a second one ends the program at once.
///
/// The flag is registered before anything else: a signal that arrives between
/// two registrations is never lost.
pub(crate) fn watch(interrupted: &Arc<AtomicBool>) -> Result<()> {
    let repeated = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGTERM, SIGINT] {
        flag::register(signal, Arc::clone(interrupted)).map_err(Failure::build)?;

        // The first signal finds `repeated` still unset.
        let end = flag::register_conditional_shutdown(signal, EXIT_CODE, Arc::clone(&repeated));
        end.map_err(Failure::build)?;
        flag::register(signal, Arc::clone(&repeated)).map_err(Failure::build)?;
    }

    // At the limit on the size of files, writing shall fail as on a full disk,
    // instead of ending the program on the spot: this flag is never read.
    flag::register(SIGXFSZ, Arc::default()).map_err(Failure::build)?;
    Ok(())
}
