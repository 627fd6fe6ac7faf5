//! Compiles the messages with protox, so that no `protoc` is needed.

use std::error::Error;

const FILES: [&str; 8] = [
    "bashu/audit.proto",
    "bashu/person.proto",
    "bashu/render.proto",
    "bashu/entitlement.proto",
    "bashu/identity.proto",
    "bashu/passes.proto",
    "bashu/billing.proto",
    "bashu/admission.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    prost_build::Config::new()
        .enable_type_names()
        .compile_fds(descriptors)?;
    Ok(())
}
