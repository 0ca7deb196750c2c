//! Images: read, checked, and given settings; what was whole on the boot partition stays so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;

use mailimg::builder::command::check_image::{check_image, load_kernels};
use mailimg::builder::command::configure::configure;
use mailimg::builder::command::settings::Checked;
use mailimg::builder::write::bios::check_bios;
use mailimg::builder::write::opened::Opened;
use mailimg::format::SETTINGS_FILE;
use mailimg::format::fat::Volume;
use mailimg::format::gpt::{TYPE_ESP, read_gpt};
use mailimg::format::storage::{Region, Storage};

use super::{Numbers, rounds};
use crate::world::bench::Bench;

const PRISTINE: &[u8] = b"# DOMAIN=\n";
const KIB: usize = 1 << 10;

/// What `inspect` and `verify` do.
fn examine(path: &Path) -> anyhow::Result<()> {
    let file = File::open(path)?;
    let mut image = Opened::new(&file)?;
    let table = read_gpt(&image)?;
    let _ = table.to_string();
    let _ = load_kernels(&mut image, &table);
    let _ = check_bios(&mut image, &table);
    check_image(&mut image)?;
    Ok(())
}

/// Every file but the settings that can be read, as far as folders can.
fn readable(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let file = File::open(path).unwrap();
    let Ok(mut image) = Opened::new(&file) else {
        return files;
    };
    let Some(esp) = read_gpt(&image)
        .ok()
        .and_then(|table| table.find(&TYPE_ESP).cloned())
    else {
        return files;
    };
    let disk: &mut dyn Storage = &mut image;
    if let Ok(mut region) = Region::new(disk, esp.offset(), esp.size())
        && let Ok(volume) = Volume::open(&mut region)
    {
        collect(&volume, "", 0, &mut files);
    }
    files.remove(SETTINGS_FILE);
    files
}

fn collect(volume: &Volume<'_>, folder: &str, depth: usize, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in volume.list(folder).unwrap_or_default() {
        let path = match folder {
            "" => entry.name.clone(),
            folder => format!("{folder}/{}", entry.name),
        };
        if entry.folder && depth < 3 && files.len() < 100 {
            collect(volume, &path, depth + 1, files);
        } else if let Ok(bytes) = volume.read(&path) {
            files.insert(path, bytes);
        }
    }
}

/// Damages places of an image and does everything with it that a user could.
fn damage(usual: usize, name: &str, path: &Path, places: &[Range<usize>], exact: bool) {
    let sound = fs::read(path).unwrap();
    let settings = Checked {
        text: b"DOMAIN=a.example\nHOSTNAME=mail.a.example\n".repeat(30),
        authority: None,
    };
    rounds(usual, name, |numbers: &mut Numbers, what| {
        let mut bytes = sound.clone();
        for _ in 0..=numbers.below(2) {
            let place = places[numbers.below(places.len())].clone();
            let start = place.start;
            *what += &format!("{} behind {start}; ", numbers.spoil(&mut bytes[place]));
        }
        fs::write(path, &bytes).unwrap();
        let whole = examine(path).is_ok();
        for given in [Some(&settings), None] {
            let (files, before) = (readable(path), fs::read(path).unwrap());
            match configure(path, given, PRISTINE) {
                Ok(()) => assert!(readable(path) == files, "files have changed"),
                Err(_) if exact => assert!(fs::read(path).unwrap() == before, "it wrote"),
                Err(_) => {}
            }
        }
        whole
    });
}

#[test]
fn what_is_whole_of_a_damaged_image_stays_so() {
    let bench = Bench::built().with_image("disk,qcow2");
    let raw = bench.work("out/tiny_1.raw");
    let bytes = fs::read(&raw).unwrap();
    let table = read_gpt(&bytes).unwrap();
    let at = |index: usize| table.partitions[index].offset() as usize;
    let (esp, bios, verity, end) = (at(0), at(1), at(3), bytes.len());
    let number = |offset: usize, length: usize| {
        let field = &bytes[esp + offset..esp + offset + length];
        field
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | usize::from(*byte))
    };
    let (reserved, length) = (number(14, 2) * 512, number(36, 4) * 512);
    let (tables, data) = (esp + reserved, esp + reserved + 2 * length);
    let places = [
        0..34 * 512,
        end - 33 * 512..end,
        esp..esp + KIB,
        tables..tables + KIB,
        tables + length..tables + length + KIB,
        data..data + 16 * KIB,
        bios..bios + KIB,
        verity - KIB..verity + 8 * KIB,
    ];
    damage(20, "raw image", &raw, &places, true);
    let qcow2 = bench.work("out/tiny_1.qcow2");
    let length = fs::metadata(&qcow2).unwrap().len() as usize;
    let places = [0..512, 64 * KIB..66 * KIB, 128 * KIB..132 * KIB, 0..length];
    damage(15, "qcow2 image", &qcow2, &places, false);
}
