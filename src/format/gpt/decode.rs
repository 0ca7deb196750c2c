//! Fields of headers and entries as they lie on a disk, little-endian.

use super::{Partition, Uuid, swap_uuid};

pub(super) fn decode_entry(entry: &[u8]) -> Partition {
    let units: Vec<u16> = entry[56..128]
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    Partition {
        label: String::from_utf16_lossy(&units),
        type_uuid: uuid_at(entry, 0),
        uuid: uuid_at(entry, 16),
        first_lba: number64(entry, 32),
        last_lba: number64(entry, 40),
        attributes: number64(entry, 48),
    }
}

pub(super) fn uuid_at(bytes: &[u8], offset: usize) -> Uuid {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&bytes[offset..offset + 16]);
    swap_uuid(&uuid)
}

pub(super) fn number32(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}

pub(super) fn number64(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(number)
}
