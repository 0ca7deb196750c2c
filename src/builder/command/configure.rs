//! `mailimg configure`: puts settings into a finished image, or takes them out.
//!
//! Only `settings.env` of the boot partition changes, and the root certificate
//! that it names beside it: the root is sealed and stays as it is. Raw and qcow2 images are told apart by their first bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::settings::Checked;
use super::signals::{say_when_stopped, undisturbed};
use crate::builder::write::atomic::make_private;
use crate::builder::write::qcow2::{self, Qcow2};
use crate::error::{Hint, hinted};
use crate::format::fat::{Volume, same_name};
use crate::format::gpt::{TYPE_ESP, check_backup, read_gpt};
use crate::format::storage::{Region, Storage};
use crate::format::{SETTINGS_FILE, SETTINGS_LIMIT};
use crate::settings::{Authority, named_authority, parse_settings};

/// Puts settings into an image; without any, the template it came with.
///
/// The settings are taken as they are: the caller checks them. `pristine` is
/// the template that the builder ships; putting it back restores every byte.
/// An image that holds settings can be read by its owner alone.
pub fn configure(image: &Path, settings: Option<&Checked>, pristine: &[u8]) -> Result<()> {
    let bytes = settings.map_or(pristine, |settings| &settings.text);
    let authority = settings.and_then(|settings| settings.authority.as_ref());
    if bytes.len() > SETTINGS_LIMIT {
        return Err(hinted(
            format!(
                "the settings take {} bytes, an image holds {SETTINGS_LIMIT}",
                bytes.len()
            ),
            "remove what is no setting from the file",
        ));
    }
    say_when_stopped(
        &format!("{} is as it was", image.display()),
        "run the same command again",
    );
    let name = || format!("configuring {}", image.display());
    let file = open_image(image).with_context(name)?;
    let mut magic = [0; qcow2::MAGIC.len()];
    let is_qcow2 = file.read_exact_at(&mut magic, 0).is_ok() && magic == qcow2::MAGIC;
    let protect = || {
        if settings.is_none() {
            return Ok(());
        }
        check_owner(&file)
            .and_then(|()| Ok(make_private(&file)?))
            .context("taking it from other users")
            .hint_where_none("only the owner of an image can put settings into it")
    };
    let replace = || {
        if is_qcow2 {
            let mut disk = Qcow2::open(&file)?;
            replace_settings(&mut disk, bytes, authority, &protect)?;
        } else {
            replace_settings(&mut &file, bytes, authority, &protect)?;
        }
        say_when_stopped(
            &format!("{} was changed as it should be", image.display()),
            "nothing is left to be done",
        );
        Ok(())
    };
    // Half of it would be refused as damage by the next run.
    let result: Result<()> = undisturbed(replace);
    let full = result.as_ref().is_err_and(|error| {
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::StorageFull)
    });
    let result = result.with_context(name);
    if full {
        return result.hint("free some space on the disk that the image lies on");
    }
    result
}

/// Opens an image that nobody else has in use.
fn open_image(image: &Path) -> Result<File> {
    let opened = File::options().read(true).write(true).open(image);
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "name an image that `mailimg build` made",
                io::ErrorKind::PermissionDenied => "it must be readable and writable",
                io::ErrorKind::IsADirectory => "name the image in the folder",
                _ => return Err(error).context("opening it"),
            };
            return Err(error).context("opening it").hint(hint);
        }
    };
    // QEMU holds locks on an image that a machine runs from; ours, on the
    // whole file, cannot be had beside them. It ends with the process.
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        // A file system without locks has nobody to keep out.
        Ok(()) | Err(Errno::NOLCK | Errno::NOTSUP | Errno::INVAL) => Ok(file),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(hinted(
            "another program is using it",
            "stop the virtual machine that runs from this image first",
        )),
        Err(error) => Err(error).context("locking it"),
    }
}

/// Refuses an image of somebody else, who could read the settings: root may change its mode,
/// but it stays theirs.
fn check_owner(file: &File) -> Result<()> {
    let (owner, own) = (file.metadata()?.uid(), geteuid().as_raw());
    if owner == own {
        return Ok(());
    }
    Err(hinted(
        format!("it belongs to user {owner}, and you are user {own}"),
        "make it yours with `chown`, or put the settings in as its owner",
    ))
}

/// Replaces the settings once `protect` has kept others from reading them.
pub(super) fn replace_settings(
    disk: &mut dyn Storage,
    bytes: &[u8],
    authority: Option<&Authority>,
    protect: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let table = read_gpt(disk).hint(
        "name a .raw or .qcow2 image that `mailimg build` made, \
         not one that is still compressed",
    )?;
    table
        .check_apart()
        .and_then(|()| check_backup(disk))
        .context("checking the partition tables")
        .hint("the image is cut short or was changed by other means: copy or build it again")?;
    let Some(esp) = table.find(&TYPE_ESP) else {
        return Err(hinted(
            "it has no EFI system partition",
            "name an image that `mailimg build` made",
        ));
    };
    ensure!(
        esp.size() <= disk.size()?,
        "the EFI system partition lies past the image's end"
    );
    let mut partition =
        Region::new(disk, esp.offset(), esp.size()).context("finding the EFI system partition")?;
    let mut volume = Volume::open(&mut partition).context("opening the EFI system partition")?;
    let damaged = "if the image was changed by other means, build it again";
    let old_authority = authority_in(&volume)?;
    volume
        .check(old_authority.as_deref().unwrap_or(SETTINGS_FILE))
        .context("checking the EFI system partition")
        .hint(damaged)?;
    if let Some(authority) = authority
        && old_authority
            .as_ref()
            .is_none_or(|old| !same_name(old, &authority.name))
        && volume.has(&authority.name)?
    {
        return Err(hinted(
            format!(
                "the EFI system partition has a file or folder {} already",
                authority.name
            ),
            "give the root certificate another name, and name that with ACME_CA_FILE",
        ));
    }
    protect()?;
    // The certificate lies behind the settings: out first and in last, so that
    // the settings find their old place whatever their length.
    let mut replace = || -> Result<()> {
        if let Some(name) = &old_authority {
            volume.remove_file(name)?;
        }
        volume.replace_file(SETTINGS_FILE, bytes)?;
        if let Some(authority) = authority {
            volume.add_file(&authority.name, &authority.bytes)?;
        }
        Ok(())
    };
    replace()
        .with_context(|| format!("replacing {SETTINGS_FILE} in the EFI system partition"))
        .hint(damaged)
}

/// The file that the settings in a volume name, if it is there.
pub(super) fn authority_in(volume: &Volume<'_>) -> Result<Option<String>> {
    let name = volume
        .read(SETTINGS_FILE)
        .and_then(|bytes| Ok(parse_settings(&bytes)?))
        .ok()
        .and_then(|written| named_authority(&written));
    let Some(name) = name else {
        return Ok(None);
    };
    // Never a folder, nor the settings themselves, whatever they name.
    let found = volume.list("")?.into_iter().any(|entry| {
        !entry.folder && same_name(&entry.name, &name) && !same_name(&name, SETTINGS_FILE)
    });
    Ok(found.then_some(name))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, PermissionsExt};
    use std::path::{Path, PathBuf};

    use super::configure;
    use crate::builder::command::settings::Checked;
    use crate::builder::recipe::PartitionSizes;
    use crate::builder::tree::Content;
    use crate::builder::write::disk::{DiskUuids, plan_disk};
    use crate::builder::write::qcow2::{Qcow2, write_qcow2};
    use crate::error::render;
    use crate::format::fat::{Volume, VolumeOptions, write_fat};
    use crate::format::storage::{Region, Storage};
    use crate::format::{AUTHORITY_LIMIT, SETTINGS_FILE, SETTINGS_LIMIT};
    use crate::settings::Authority;

    const PRISTINE: &[u8] = b"# DOMAIN=example.org\n";

    /// A small disk with a boot partition, raw and as qcow2.
    fn images() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(folder.path().join(name))
                .unwrap()
        };
        let (raw, qcow2) = (open("mail.raw"), open("mail.qcow2"));
        let sizes = PartitionSizes {
            esp_mib: 40,
            root_mib: 1,
            verity_mib: 1,
        };
        let uuids = DiskUuids {
            disk: [1; 16],
            esp: [2; 16],
            bios: [3; 16],
            root: [4; 16],
            verity: [5; 16],
        };
        let plan = plan_disk(&sizes, "mail", "1", &uuids).unwrap();
        plan.write_tables(&raw).unwrap();
        let mut whole = &raw;
        let mut esp = Region::new(&mut whole, plan.esp.offset(), plan.esp.size()).unwrap();
        let options = VolumeOptions {
            label: "ESP".to_owned(),
            volume_id: 7,
            timestamp: 1_700_000_000,
            hidden_sectors: plan.esp.first_lba as u32,
        };
        let files = [
            (SETTINGS_FILE.to_owned(), Content::from(PRISTINE.to_vec())),
            (
                "EFI/Linux/mail_1.efi".to_owned(),
                Content::from(vec![9; 100_000]),
            ),
        ];
        let written = write_fat(&mut esp, &options, &files).unwrap();
        let allocated: Vec<_> = written
            .editable
            .iter()
            .map(|range| range.start + plan.esp.offset()..range.end + plan.esp.offset())
            .collect();
        write_qcow2(&raw, &qcow2, &allocated).unwrap();
        let paths = (
            folder.path().join("mail.raw"),
            folder.path().join("mail.qcow2"),
        );
        (folder, paths.0, paths.1)
    }

    fn checked(text: &[u8]) -> Checked {
        Checked {
            text: text.to_vec(),
            authority: None,
        }
    }

    fn file_of(image: &Path, name: &str) -> Option<Vec<u8>> {
        let file = File::open(image).unwrap();
        let read = |disk: &mut dyn Storage| {
            let mut esp = Region::new(disk, 1 << 20, 40 << 20).unwrap();
            Volume::open(&mut esp).unwrap().read(name).ok()
        };
        if image
            .extension()
            .is_some_and(|extension| extension == "qcow2")
        {
            read(&mut Qcow2::open(&file).unwrap())
        } else {
            read(&mut &file)
        }
    }

    #[test]
    fn settings_go_in_and_reset_restores_every_byte() {
        let (_folder, raw, qcow2) = images();
        for image in [&raw, &qcow2] {
            let before = fs::read(image).unwrap();
            let large = vec![b'x'; SETTINGS_LIMIT];
            for settings in [
                &b"DOMAIN=example.org\n"[..],
                &large,
                b"DOMAIN=example.net\n",
            ] {
                configure(image, Some(&checked(settings)), PRISTINE).unwrap();
                assert_eq!(file_of(image, SETTINGS_FILE).unwrap(), settings);
                assert_eq!(
                    fs::metadata(image).unwrap().permissions().mode() & 0o777,
                    0o600
                );
            }
            let after = fs::read(image).unwrap();
            assert_eq!(after.len(), before.len());
            assert!(!after.windows(11).any(|window| window == b"example.org"));
            configure(image, None, PRISTINE).unwrap();
            assert!(fs::read(image).unwrap() == before);
        }
    }

    #[test]
    fn a_root_certificate_goes_with_the_settings_that_name_it() {
        let (_folder, raw, qcow2) = images();
        for image in [&raw, &qcow2] {
            let before = fs::read(image).unwrap();
            let put = |name: &str, length: usize| {
                let text = format!("ACME_CA_FILE={name}\n{}", "#".repeat(length));
                let settings = Checked {
                    text: text.into_bytes(),
                    authority: Some(Authority {
                        name: name.to_owned(),
                        bytes: vec![b'c'; AUTHORITY_LIMIT],
                    }),
                };
                configure(image, Some(&settings), PRISTINE).unwrap();
                assert_eq!(file_of(image, name).unwrap().len(), AUTHORITY_LIMIT);
            };
            put("my root.pem", 50_000);
            put("other.pem", 10);
            assert_eq!(file_of(image, "my root.pem"), None);
            put("other.pem", 60_000);
            configure(image, None, PRISTINE).unwrap();
            assert!(fs::read(image).unwrap() == before);
        }
    }

    /// As root, the settings stayed with the image's owner.
    #[test]
    fn an_image_of_somebody_else_gets_no_settings() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (_folder, raw, qcow2) = images();
        for image in [&raw, &qcow2] {
            let before = fs::read(image).unwrap();
            std::os::unix::fs::chown(image, Some(65534), None).unwrap();
            let error = configure(image, Some(&checked(b"A=b\n")), PRISTINE).unwrap_err();
            let text = render(&error);
            assert!(text.contains("it belongs to user 65534, and you are user 0\nhint: make it"));
            assert!(fs::read(image).unwrap() == before);
            // Taking them out gives nothing away.
            configure(image, None, PRISTINE).unwrap();
        }
    }

    #[test]
    fn an_image_whose_partitions_are_not_all_there_or_overlap_is_left_alone() {
        let (_folder, raw, _) = images();
        let pristine = fs::read(&raw).unwrap();
        let refused = |bytes: &[u8], reason: &str| {
            fs::write(&raw, bytes).unwrap();
            for settings in [Some(&checked(b"A=b\n")), None] {
                let text = render(&configure(&raw, settings, PRISTINE).unwrap_err());
                assert!(text.contains(reason), "{text}");
                assert!(text.contains("\nhint: "), "{text}");
                assert!(fs::read(&raw).unwrap() == bytes);
            }
        };
        for cut in [512, 1 << 20] {
            refused(&pristine[..pristine.len() - cut], "the partition tables: ");
        }
        refused(
            &pristine[..pristine.len() - (2 << 20)],
            "does not lie inside the disk",
        );
        // The boot partition reaches over all others, in both tables.
        let table = crate::format::gpt::read_gpt(&pristine).unwrap();
        let last = table.partitions[3].last_lba;
        let mut overlapping = pristine.clone();
        let end = pristine.len();
        for (header, entries) in [(512, 1024), (end - 512, end - 33 * 512)] {
            let at = entries + 40;
            overlapping[at..at + 8].copy_from_slice(&last.to_le_bytes());
            let sum = crc32fast::hash(&overlapping[entries..entries + 128 * 128]);
            overlapping[header + 88..header + 92].copy_from_slice(&sum.to_le_bytes());
            overlapping[header + 16..header + 20].fill(0);
            let sum = crc32fast::hash(&overlapping[header..header + 92]);
            overlapping[header + 16..header + 20].copy_from_slice(&sum.to_le_bytes());
        }
        refused(&overlapping, "partitions \"esp\" and \"bios\" overlap");
    }

    /// A certificate named like a folder was refused half-way, and so was every attempt after.
    #[test]
    fn a_root_certificate_named_like_something_else_changes_nothing() {
        let (_folder, raw, qcow2) = images();
        for image in [&raw, &qcow2] {
            let before = fs::read(image).unwrap();
            for name in ["EFI", "efi", SETTINGS_FILE, "Settings.Env"] {
                let settings = Checked {
                    text: format!("ACME_CA_FILE={name}\n").into_bytes(),
                    authority: Some(Authority {
                        name: name.to_owned(),
                        bytes: b"certificate".to_vec(),
                    }),
                };
                let error = configure(image, Some(&settings), PRISTINE).unwrap_err();
                let text = render(&error);
                assert!(text.contains("already\nhint: give the root"), "{text}");
                assert!(fs::read(image).unwrap() == before);
                // Settings that were put in by other means are taken out again.
                configure(image, Some(&checked(&settings.text)), PRISTINE).unwrap();
                configure(image, None, PRISTINE).unwrap();
                assert!(fs::read(image).unwrap() == before);
            }
        }
    }

    #[test]
    fn what_is_no_image_of_ours_is_refused_with_a_hint() {
        let (folder, raw, qcow2) = images();
        let refuse = |image: &Path| {
            let text = render(&configure(image, Some(&checked(b"A=b\n")), PRISTINE).unwrap_err());
            text.replace(&folder.path().display().to_string(), "")
        };
        assert_eq!(
            refuse(&folder.path().join("none.raw")),
            "error: configuring /none.raw: opening it: No such file or directory (os error 2)\n\
             hint: name an image that `mailimg build` made"
        );
        assert!(refuse(folder.path()).contains("hint: name the image in the folder"));
        let text = folder.path().join("text");
        fs::write(&text, "hello").unwrap();
        let mode = fs::metadata(&text).unwrap().permissions().mode();
        assert!(refuse(&text).contains("disk ends before its partition table\nhint: name a .raw"));
        assert_eq!(fs::metadata(&text).unwrap().permissions().mode(), mode);

        File::options()
            .write(true)
            .open(&raw)
            .unwrap()
            .write_all_at(&[9], 1024)
            .unwrap();
        assert_eq!(
            refuse(&raw),
            "error: configuring /mail.raw: the partition table's entries have a wrong checksum\n\
             hint: name a .raw or .qcow2 image that `mailimg build` made, \
             not one that is still compressed"
        );
        let error =
            configure(&qcow2, Some(&checked(&[0; SETTINGS_LIMIT + 1])), PRISTINE).unwrap_err();
        assert!(render(&error).contains("hint: remove what is no setting"));
        let short = File::options().write(true).open(&qcow2).unwrap();
        short.set_len(200_000).unwrap();
        assert!(refuse(&qcow2).starts_with("error: configuring /mail.qcow2: "));
    }
}
