//! What starts an image by UEFI: that nothing else could, and that it is as it was written.

use std::fs;

use mailimg::format::content::Content;
use mailimg::format::fat::{Volume, VolumeOptions, write_fat};
use mailimg::format::gpt::{TYPE_ESP, TYPE_ROOT_VERITY, read_gpt};
use mailimg::format::storage::{Region, Storage};

use crate::world::bench::Bench;

const IMAGE: &str = "out/tiny_1.raw";
const MANIFEST: &str = "out/tiny_1.manifest.json";
const KERNEL: &str = "EFI/Linux/tiny_1.efi";

type Files = Vec<(String, Vec<u8>)>;

/// An image whose boot partition is changed.
struct Image {
    bench: Bench,
    pristine: Vec<u8>,
}

impl Image {
    fn new() -> Self {
        let bench = Bench::built().with_image("disk,qcow2");
        let pristine = fs::read(bench.work(IMAGE)).unwrap();
        Self { bench, pristine }
    }

    /// Every file of the pristine boot partition.
    fn files(&self) -> Files {
        let mut disk = self.pristine.clone();
        let esp = read_gpt(&disk).unwrap().find(&TYPE_ESP).unwrap().clone();
        let mut region = Region::new(&mut disk, esp.offset(), esp.size()).unwrap();
        let volume = Volume::open(&mut region).unwrap();
        let paths = volume.files().unwrap();
        let read = |path: String| (volume.read(&path).unwrap(), path);
        let read = paths.into_iter().map(read);
        read.map(|(bytes, path)| (path, bytes)).collect()
    }

    /// Writes the image with other files on its boot partition.
    fn write(&self, change: impl FnOnce(&mut Files)) {
        let mut files = self.files();
        change(&mut files);
        let files: Vec<(String, Content)> = files
            .into_iter()
            .map(|(path, bytes)| (path, Content::from(bytes)))
            .collect();
        let mut disk = self.pristine.clone();
        let esp = read_gpt(&disk).unwrap().find(&TYPE_ESP).unwrap().clone();
        let mut region = Region::new(&mut disk, esp.offset(), esp.size()).unwrap();
        region.zero_at(0, esp.size()).unwrap();
        let options = VolumeOptions {
            label: "ESP".to_owned(),
            volume_id: 1,
            timestamp: 1_700_000_000,
            hidden_sectors: 2048,
        };
        write_fat(&mut region, &options, &files).unwrap();
        fs::write(self.bench.work(IMAGE), disk).unwrap();
    }

    /// What `verify` refuses the image with.
    fn refused(&self, change: impl FnOnce(&mut Files)) -> String {
        self.write(change);
        self.bench.run(&["verify", IMAGE]).error(1)
    }

    /// What it says without the manifest.
    fn said_alone(&self) -> String {
        let (manifest, aside) = (self.bench.work(MANIFEST), self.bench.work("aside.json"));
        fs::rename(&manifest, &aside).unwrap();
        let outcome = self.bench.run(&["verify", IMAGE]);
        fs::rename(&aside, &manifest).unwrap();
        outcome.done().stdout.clone()
    }
}

fn content<'files>(files: &'files mut Files, path: &str) -> &'files mut Vec<u8> {
    let found = files.iter_mut().find(|(other, _)| other == path);
    &mut found.unwrap_or_else(|| panic!("no {path}")).1
}

/// Puts bytes of the same length in the place of the first such ones.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|found| found == from);
    bytes[at.unwrap()..][..to.len()].copy_from_slice(to);
}

#[test]
fn an_image_is_compared_with_its_manifest_whatever_its_settings() {
    let image = Image::new();
    let compared = format!("boot partition: 8 files are those of {MANIFEST}; settings");
    let said = |path: &str| {
        let outcome = image.bench.run(&["verify", path]);
        outcome.done().stdout.clone()
    };
    assert!(said(IMAGE).contains(&compared), "{}", said(IMAGE));
    assert!(said("out/tiny_1.qcow2").contains(&compared));
    image.write(|_| {});
    assert!(said(IMAGE).contains(&compared));

    image.bench.write(
        "settings.env",
        "DOMAIN=a.example\nHOSTNAME=mail.a.example\n",
    );
    let configure = ["configure", IMAGE, "--settings", "settings.env"];
    image.bench.run(&configure).done();
    assert!(said(IMAGE).contains(&compared));

    // Without it, what was not compared is said.
    let alone = image.said_alone();
    let honest = "the bytes of kernel and boot loader are not compared for want of";
    assert!(alone.contains(honest), "{alone}");
}

/// All that was said to agree.
#[test]
fn other_bytes_in_what_starts_are_found() {
    let image = Image::new();
    let other = |path: &str| format!("{path} is not as it was written");
    let error = image.refused(|files| {
        replace(content(files, KERNEL), b"a kernel\n", b"b kernel\n");
    });
    assert!(error.contains(&other(KERNEL)), "{error}");
    assert!(
        error.contains("\nhint: it is damaged or was changed"),
        "{error}"
    );
    // Nobody claims otherwise where there is nothing to compare with.
    assert!(image.said_alone().contains("are not compared"));

    let loader = "EFI/BOOT/BOOTX64.EFI";
    let error = image.refused(|files| content(files, loader).push(0));
    assert!(error.contains("are not the same boot loader"), "{error}");
    let error = image.refused(|files| {
        content(files, loader).push(0);
        content(files, "EFI/systemd/systemd-bootx64.efi").push(0);
    });
    assert!(error.contains(&other(loader)), "{error}");
    let file = "loader/loader.conf";
    let error = image.refused(|files| content(files, file).extend(b"editor yes\n"));
    assert!(error.contains(&other(file)), "{error}");
    let error = image.refused(|files| files.retain(|(path, _)| path != file));
    assert!(error.contains("loader/loader.conf is missing"), "{error}");
}

#[test]
fn whatever_else_could_start_is_found() {
    let image = Image::new();
    // A newer kernel with another root.
    let error = image.refused(|files| {
        let mut kernel = content(files, KERNEL).clone();
        let at = kernel.windows(9).position(|found| found == b"roothash=");
        kernel[at.unwrap() + 9..][..64].fill(b'0');
        files.push(("EFI/Linux/tiny_2.efi".to_owned(), kernel));
    });
    assert!(
        error.contains("checking EFI/Linux/tiny_2.efi: it starts with the root hash DIGEST"),
        "{error}"
    );
    // One with the same root, which only the manifest tells from the other.
    let error = image.refused(|files| {
        let kernel = content(files, KERNEL).clone();
        files.push(("EFI/Linux/tiny_2.efi".to_owned(), kernel));
    });
    assert!(
        error.contains("EFI/Linux/tiny_2.efi was not written by the build"),
        "{error}"
    );
    for path in [
        "loader/entries/other.conf",
        "EFI/Microsoft/Boot/bootmgfw.efi",
        "EFI/Linux/tiny_1.efi.extra.d/other.addon.efi",
        "EFI/BOOT/grubx64.efi",
        "loader/addons/other.addon.efi",
    ] {
        image.write(|files| files.push((path.to_owned(), b"title other\n".to_vec())));
        let error = image.bench.run(&["verify", IMAGE]).error(1);
        let expected = format!("{path} is not of an image, and could be started");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn the_manifest_of_another_image_is_none() {
    let image = Image::new();
    let text = fs::read_to_string(image.bench.work(MANIFEST)).unwrap();
    let at = text.find("\"root_hash\": \"").unwrap() + 14;
    let other = text[..at].to_owned() + &"0".repeat(64) + &text[at + 64..];
    image.bench.write("other.json", &other);
    let outcome = image
        .bench
        .run(&["verify", IMAGE, "--manifest", "other.json"]);
    let error = outcome.error(1);
    assert!(
        error.contains("other.json: it is not that of this image\nhint: "),
        "{error}"
    );
    let outcome = image
        .bench
        .run(&["verify", IMAGE, "--manifest", "none.json"]);
    assert!(outcome.error(1).contains("none.json"));
}

/// It read for hours.
#[test]
fn a_root_that_claims_terabytes_is_refused_at_once() {
    let image = Image::new();
    let mut disk = image.pristine.clone();
    let hashes = read_gpt(&disk).unwrap();
    let at = hashes.find(&TYPE_ROOT_VERITY).unwrap().offset() as usize;
    disk[at + 72..at + 80].copy_from_slice(&(1u64 << 30).to_le_bytes());
    fs::write(image.bench.work(IMAGE), disk).unwrap();
    let error = image.bench.run(&["verify", IMAGE]).error(1);
    assert!(
        error.contains("1073741824 data blocks do not fit into the partitions"),
        "{error}"
    );
}
