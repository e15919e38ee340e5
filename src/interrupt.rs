//! Stopping in good order when a signal asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGABRT, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level};

use crate::failure::{Failure, Result};

/// The exit code of a run that a signal ends, in good order or not.
const EXIT_CODE: i32 = 130;

/// The exit code of an allocation that failed.
const OUT_OF_MEMORY: i32 = 1;

/// The time in which a run that was interrupted ends by itself.
const GRACE: Duration = Duration::from_secs(3);

/// The interval at which the end of a run is prepared.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Ends the program with an exit code where it would abort: an allocation that
/// fails prints its line before.
pub(crate) fn exit_on_abort() {
    let always = Arc::new(AtomicBool::new(true));
    // Without it, the line is the same and the exit code another.
    drop(flag::register_conditional_shutdown(
        SIGABRT,
        OUT_OF_MEMORY,
        always,
    ));
}

/// Lets a signal set `interrupted`; a second one ends the program at once. Has
/// no effect on the second call.
///
/// The flag is registered before anything else: a signal that arrives between
/// two registrations is never lost.
pub(crate) fn watch(interrupted: &Arc<AtomicBool>) -> Result<()> {
    static IS_WATCHED: AtomicBool = AtomicBool::new(false);
    if IS_WATCHED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
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
    end_after_grace(Arc::clone(interrupted));
    Ok(())
}

/// Ends a run that waits for what no flag interrupts, for example for a file
/// system that does not answer.
fn end_after_grace(interrupted: Arc<AtomicBool>) {
    let end = move || {
        while !interrupted.load(Ordering::Relaxed) {
            thread::sleep(POLL_INTERVAL);
        }
        thread::sleep(GRACE);
        low_level::exit(EXIT_CODE);
    };
    // Without a thread, such a wait is ended by a second signal.
    drop(thread::Builder::new().spawn(end));
}
