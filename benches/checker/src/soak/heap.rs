//! What a server has allocated, to the byte, told by a file: the server under attack is the soak's own program, whose allocator counts.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use crate::place::Failure;

/// The file's name, in the folder in which the server runs.
const FILE: &str = "heap";
/// Time between two writes.
const EVERY: Duration = Duration::from_millis(20);

/// Begins to tell, in a thread of its own, until the process ends.
///
/// # Errors
/// When the file cannot be made.
pub fn tell(allocated: impl Fn() -> usize + Send + 'static) -> Result<(), Failure> {
    let file = File::create(FILE)?;
    let told = move || {
        // The same width each time, so that whoever reads never finds half a number. A disk that is full shows as a number that stands still.
        while file.write_all_at(format!("{:020}", allocated()).as_bytes(), 0).is_ok() {
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new().name("heap".into()).spawn(told)?;
    Ok(())
}

/// Reads what was told last, in bytes.
///
/// # Errors
/// When there is nothing.
pub fn read(folder: &Path) -> Result<u64, Failure> {
    Ok(std::fs::read_to_string(folder.join(FILE))?.parse()?)
}
