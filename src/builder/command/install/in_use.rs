//! Who uses a disk: mounted file systems, swap, device mapper, RAID, loop devices.
//!
//! Read from `/proc/self/mountinfo` (proc_pid_mountinfo(5)), `/proc/swaps` and
//! `/sys/dev/block` (<https://docs.kernel.org/admin-guide/sysfs-rules.html>). The kernel's
//! own refusal to share a device that is opened exclusively comes later; this says who it
//! is. Left out: programs that merely read a disk.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::error::hinted;

/// A device's number as the kernel writes it, `254:0`.
type Number = String;

/// Mount points that the running system cannot do without.
const SYSTEM: [&str; 4] = ["/", "/usr", "/boot", "/var"];

/// The running system, or a folder that looks like it.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// The system below a folder, `/` for the running one.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn read(&self, path: &str) -> String {
        // Without such a file there is nobody to be told of.
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    /// A device's folder in sysfs.
    fn folder(&self, number: &str) -> Option<PathBuf> {
        fs::canonicalize(self.root.join("sys/dev/block").join(number)).ok()
    }

    /// Refuses a block device that is no whole disk, is read-only, or is used.
    pub fn check_block_device(&self, path: &Path, number: &str) -> Result<()> {
        let name = path.display();
        let Some(folder) = self.folder(number) else {
            return Ok(());
        };
        if folder.join("partition").exists() {
            let disk = folder.parent().and_then(Path::file_name);
            let disk = disk.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            return Err(hinted(
                format!("{name} is a partition, not a disk"),
                format!("name the whole disk: /dev/{}", disk.replace('!', "/")),
            ));
        }
        if fs::read_to_string(folder.join("ro")).is_ok_and(|text| text.trim() == "1") {
            return Err(hinted(
                format!("{name} is read-only"),
                "unlock it (`blockdev --setrw`), or name another disk: `lsblk` lists them",
            ));
        }
        let mut users = Users::default();
        self.collect(&folder, number, &mut users);
        self.check_mounts(path, &users.devices)?;
        self.check_swap(path, &users.devices)?;
        if let Some(holder) = users.holders.first() {
            return Err(hinted(
                format!("{name} is in use by {holder} (LVM, RAID, encryption or multipath)"),
                "close what lies on it: `vgchange -an`, `mdadm --stop` or `dmsetup remove`; \
                 `lsblk` shows it",
            ));
        }
        Ok(())
    }

    /// Refuses a file that a loop device stands for.
    pub fn check_file(&self, path: &Path) -> Result<()> {
        let wanted = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let devices = fs::read_dir(self.root.join("sys/block"));
        for device in devices.into_iter().flatten().flatten() {
            let backing = fs::read_to_string(device.path().join("loop/backing_file"));
            if backing.is_ok_and(|file| Path::new(file.trim_end_matches('\n')) == wanted) {
                let device = device.file_name();
                let device = device.to_string_lossy();
                return Err(hinted(
                    format!("{} is in use by /dev/{device}", path.display()),
                    format!("detach it: `losetup -d /dev/{device}`"),
                ));
            }
        }
        Ok(())
    }

    /// The device, its partitions, and what is made of either.
    fn collect(&self, folder: &Path, number: &str, users: &mut Users) {
        if !users.devices.insert(number.to_owned()) {
            return;
        }
        for holder in entries(&folder.join("holders")) {
            users.holders.push(
                holder
                    .file_name()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            );
            if let Ok(number) = fs::read_to_string(holder.join("dev")) {
                self.collect(&holder, number.trim(), users);
            }
        }
        for part in entries(folder) {
            if !part.join("partition").exists() {
                continue;
            }
            if let Ok(number) = fs::read_to_string(part.join("dev")) {
                self.collect(&part, number.trim(), users);
            }
        }
    }

    fn check_mounts(&self, path: &Path, devices: &BTreeSet<Number>) -> Result<()> {
        let text = self.read("proc/self/mountinfo");
        let mut mounted: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let (before, after) = line.split_once(" - ")?;
                let mut fields = before.split(' ').skip(2);
                let number = fields.next()?;
                let point = unescape(fields.nth(1)?);
                // Some file systems have numbers of their own, and name the device.
                let source = unescape(after.split(' ').nth(1)?);
                let own = devices.contains(number)
                    || self
                        .number_of(&source)
                        .is_some_and(|number| devices.contains(&number));
                own.then_some(point)
            })
            .collect();
        mounted.sort_by_key(|point| (!SYSTEM.contains(&point.as_str()), point.clone()));
        let Some(point) = mounted.first() else {
            return Ok(());
        };
        let name = path.display();
        if SYSTEM.contains(&point.as_str()) {
            return Err(hinted(
                format!("{name} is the disk that the running system is on ({point})"),
                "start the server's rescue system, and run this there",
            ));
        }
        Err(hinted(
            format!("{name} is in use: a file system of it is mounted on {point}"),
            format!("`umount {point}` first"),
        ))
    }

    fn check_swap(&self, path: &Path, devices: &BTreeSet<Number>) -> Result<()> {
        for line in self.read("proc/swaps").lines().skip(1) {
            let Some(area) = line.split_whitespace().next().map(unescape) else {
                continue;
            };
            if self
                .number_of(&area)
                .is_some_and(|number| devices.contains(&number))
            {
                return Err(hinted(
                    format!("{} is in use: the system swaps to {area}", path.display()),
                    format!("`swapoff {area}` first"),
                ));
            }
        }
        Ok(())
    }

    /// The number of the device at a path like `/dev/vda1`.
    fn number_of(&self, path: &str) -> Option<Number> {
        let name = path.strip_prefix("/dev/")?;
        let by_name = self.root.join("sys/class/block").join(name).join("dev");
        if let Ok(number) = fs::read_to_string(by_name) {
            return Some(number.trim().to_owned());
        }
        // A link, /dev/mapper/NAME or /dev/disk/by-uuid/UUID.
        let metadata = fs::metadata(self.root.join(path.strip_prefix('/')?)).ok()?;
        Some(number_text(metadata.rdev()))
    }
}

/// What was found of a device.
#[derive(Default)]
struct Users {
    devices: BTreeSet<Number>,
    holders: Vec<String>,
}

/// A device's number in text.
pub fn number_text(device: u64) -> Number {
    format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    )
}

/// What a folder holds, links followed.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| fs::canonicalize(entry.path()).ok())
        .filter(|path| path.is_dir())
        .collect();
    paths.sort();
    paths
}

/// Spaces and the like stand as `\040` in these tables.
fn unescape(text: &str) -> String {
    let mut plain = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::{Host, unescape};
    use crate::error::render;

    /// A disk `vda` 254:0 with one partition 254:1, and `dm-0` 252:0.
    struct World(tempfile::TempDir);

    impl World {
        fn new() -> Self {
            let world = Self(tempfile::tempdir().unwrap());
            for (folder, number) in [
                ("sys/devices/vda", "254:0"),
                ("sys/devices/vda/vda1", "254:1"),
                ("sys/devices/dm-0", "252:0"),
            ] {
                world.write(&format!("{folder}/dev"), number);
                fs::create_dir_all(world.0.path().join(folder).join("holders")).unwrap();
                let name = folder.rsplit('/').next().unwrap();
                for link in [
                    format!("sys/dev/block/{number}"),
                    format!("sys/class/block/{name}"),
                ] {
                    world.link(&link, folder);
                }
            }
            world.write("sys/devices/vda/vda1/partition", "1\n");
            world.write("sys/devices/vda/ro", "0\n");
            world
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn link(&self, from: &str, to: &str) {
            let from = self.0.path().join(from);
            fs::create_dir_all(from.parent().unwrap()).unwrap();
            symlink(self.0.path().join(to), from).unwrap();
        }

        fn refused(&self, number: &str) -> String {
            let host = Host::new(self.0.path());
            match host.check_block_device(Path::new("/dev/it"), number) {
                Ok(()) => String::new(),
                Err(error) => render(&error),
            }
        }
    }

    #[test]
    fn a_disk_that_nobody_uses_is_taken() {
        assert_eq!(World::new().refused("254:0"), "");
        // No such folder: a kernel without sysfs.
        assert_eq!(World::new().refused("9:9"), "");
    }

    #[test]
    fn partitions_and_read_only_disks_are_refused() {
        let world = World::new();
        assert_eq!(
            world.refused("254:1"),
            "error: /dev/it is a partition, not a disk\nhint: name the whole disk: /dev/vda"
        );
        world.write("sys/devices/vda/ro", "1\n");
        assert!(
            world
                .refused("254:0")
                .starts_with("error: /dev/it is read-only\nhint: ")
        );
    }

    #[test]
    fn whoever_uses_it_is_named() {
        let world = World::new();
        let mount = |number: &str, point: &str, source: &str| {
            world.write(
                "proc/self/mountinfo",
                &format!(
                    "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                     30 27 {number} / {point} rw shared:1 - ext4 {source} rw\n"
                ),
            );
        };
        mount("254:1", "/mnt\\040a", "/dev/vda1");
        assert_eq!(
            world.refused("254:0"),
            "error: /dev/it is in use: a file system of it is mounted on /mnt a\n\
             hint: `umount /mnt a` first"
        );
        mount("254:1", "/", "/dev/vda1");
        assert!(
            world
                .refused("254:0")
                .contains("the running system is on (/)\nhint: start")
        );
        // btrfs has a number of its own.
        mount("0:44", "/data", "/dev/vda1");
        assert!(world.refused("254:0").contains("mounted on /data"));
        mount("252:0", "/data", "/dev/mapper/x");
        assert_eq!(world.refused("254:0"), "");

        // The same, when dm-0 lies on the partition.
        world.link("sys/devices/vda/vda1/holders/dm-0", "sys/devices/dm-0");
        assert!(world.refused("254:0").contains("mounted on /data"));
        mount("8:1", "/", "/dev/sda1");
        assert!(
            world
                .refused("254:0")
                .contains("/dev/it is in use by dm-0 (LVM")
        );

        let world = World::new();
        let table = "Filename Type Size Used Priority\n/dev/vda1 partition 1 0 -2\n";
        world.write("proc/swaps", table);
        assert!(
            world
                .refused("254:0")
                .ends_with("hint: `swapoff /dev/vda1` first")
        );
    }

    #[test]
    fn a_file_behind_a_loop_device_is_refused() {
        let world = World::new();
        let file = world.0.path().join("disk.raw");
        fs::write(&file, "").unwrap();
        let host = Host::new(world.0.path());
        host.check_file(&file).unwrap();
        world.write(
            "sys/block/loop3/loop/backing_file",
            &format!("{}\n", fs::canonicalize(&file).unwrap().display()),
        );
        let text = render(&host.check_file(&file).unwrap_err());
        assert!(text.ends_with("in use by /dev/loop3\nhint: detach it: `losetup -d /dev/loop3`"));
    }

    #[test]
    fn escapes_are_read() {
        assert_eq!(unescape("/a\\040b\\134c\\"), "/a b\\c\\");
    }
}
