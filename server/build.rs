//! Makes sure that the folder of the built web client exists: it is embedded in the binary, empty or not, and a change
//! in it rebuilds the server.

use std::{fs, path::Path};

fn main() {
    let folder = Path::new("../web-client/dist");
    // Where it cannot be made, embedding it says so in better words.
    let _ = fs::create_dir_all(folder);
    println!("cargo:rerun-if-changed={}", folder.display());
}
