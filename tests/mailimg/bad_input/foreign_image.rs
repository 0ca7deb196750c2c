//! Images of strangers that lead elsewhere: no command follows them.

use std::fs;
use std::path::Path;

use crate::world::bench::Bench;

/// A qcow2 header that names another file, by place and length of the name.
fn overlay(name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    bytes[8..16].copy_from_slice(&200u64.to_be_bytes());
    bytes[16..20].copy_from_slice(&(name.len() as u32).to_be_bytes());
    bytes[20..24].copy_from_slice(&16u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(1u64 << 20).to_be_bytes());
    bytes[100..104].copy_from_slice(&104u32.to_be_bytes());
    bytes[200..200 + name.len()].copy_from_slice(name);
    bytes
}

/// `boot` handed it to QEMU, which read the named file for the machine.
#[test]
fn no_command_follows_an_image_into_another_file() {
    let bench = Bench::built().with_image("disk");
    bench.write("secret", "of this user");
    bench.write(
        "settings.env",
        "DOMAIN=a.example\nHOSTNAME=mail.a.example\n",
    );
    bench.write_bytes("target.raw", &vec![0; 1 << 20]);
    let secret = bench.work("secret");
    let json = format!("json:{{\"driver\":\"raw\",\"file\":{{\"filename\":{secret:?}}}}}");
    let mut data_file = overlay(b"");
    data_file[8..20].fill(0);
    data_file[79] = 4;
    for (image, said) in [
        (overlay(path_bytes(&secret)), "an overlay on another one"),
        (overlay(json.as_bytes()), "an overlay on another one"),
        (overlay(b"nbd:localhost"), "an overlay on another one"),
        (data_file, "its data in another file"),
    ] {
        bench.write_bytes("foreign.qcow2", &image);
        for arguments in [
            &["boot", "foreign.qcow2", "--accel", "tcg"][..],
            &["inspect", "foreign.qcow2"],
            &["verify", "foreign.qcow2"],
            &["diff", "foreign.qcow2", "out/tiny_1.raw"],
            &["install", "foreign.qcow2", "target.raw"],
            &["configure", "foreign.qcow2", "--settings", "settings.env"],
            &["configure", "foreign.qcow2", "--reset"],
        ] {
            let error = bench.run(arguments).error(1);
            assert!(error.contains(said), "{arguments:?}: {error}");
        }
        assert!(fs::read(bench.work("foreign.qcow2")).unwrap() == image);
    }
}

fn path_bytes(path: &Path) -> &[u8] {
    path.to_str().unwrap().as_bytes()
}
