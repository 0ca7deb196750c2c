//! A disk that remembers what was written to it and when it was told to keep it, and the
//! disks that a power cut may leave of that.

use std::io;

use mailimg::builder::write::layered::Layered;
use mailimg::format::storage::Storage;

/// What a disk writes wholly or not at all.
const SECTOR: usize = 512;

/// One thing that was asked of the disk.
#[derive(Debug)]
enum Request {
    Write(u64, Vec<u8>),
    Zero(u64, u64),
    Sync,
}

/// A disk and the requests to it.
pub struct Recorder<'a, S> {
    disk: Layered<'a, S>,
    requests: Vec<Request>,
}

impl<'a, S: Storage> Recorder<'a, S> {
    pub fn over(disk: &'a S) -> Self {
        Self {
            disk: Layered::over(disk).unwrap(),
            requests: Vec::new(),
        }
    }

    /// Calls back with each disk that a cut may leave: before each sync nothing, all, and
    /// random sectors of what was written since the one before. The number is the sync's.
    pub fn cuts<'d>(
        &self,
        durable: &mut Layered<'d, S>,
        random: &mut Random,
        mut check: impl FnMut(usize, &mut Layered<'_, Layered<'d, S>>),
    ) {
        let mut pending: Vec<&Request> = Vec::new();
        let mut syncs = 0;
        for request in self.requests.iter().chain([&Request::Sync]) {
            if !matches!(request, Request::Sync) {
                pending.push(request);
                continue;
            }
            for share in [0, 2, 1, 1] {
                if share == 1 && pending.is_empty() {
                    continue;
                }
                let mut state = Layered::over(durable).unwrap();
                for request in &pending {
                    request.apply(&mut state, || random.below(2) < share);
                }
                check(syncs, &mut state);
            }
            for request in pending.drain(..) {
                request.apply(durable, || true);
            }
            syncs += 1;
        }
    }
}

impl Request {
    /// Applies those sectors that `chosen` says reached the disk.
    fn apply(&self, disk: &mut dyn Storage, mut chosen: impl FnMut() -> bool) {
        let zeros;
        let (offset, bytes) = match self {
            Self::Sync => return,
            Self::Write(offset, bytes) => (*offset, bytes),
            Self::Zero(offset, length) => {
                zeros = vec![0; *length as usize];
                (*offset, &zeros)
            }
        };
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            if chosen() {
                disk.write_at(sector, offset + (index * SECTOR) as u64)
                    .unwrap();
            }
        }
    }
}

impl<S: Storage> Storage for Recorder<'_, S> {
    fn size(&self) -> io::Result<u64> {
        self.disk.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.requests.push(Request::Write(offset, bytes.to_vec()));
        self.disk.write_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.requests.push(Request::Sync);
        Ok(())
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.requests.push(Request::Zero(offset, length));
        self.disk.zero_at(offset, length)
    }
}

/// A disk of zeros.
pub struct Blank(pub u64);

impl Storage for Blank {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0)
    }

    fn read_at(&self, buffer: &mut [u8], _: u64) -> io::Result<()> {
        buffer.fill(0);
        Ok(())
    }

    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Numbers that are the same in each run (xorshift).
pub struct Random(pub u64);

impl Random {
    /// One below this.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
