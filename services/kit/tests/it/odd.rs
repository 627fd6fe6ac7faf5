//! A record that the client would never write, sent as bytes of Kafka's own protocol (Produce 3, a
//! record batch of version 2): a header whose name is not UTF-8.

use std::io::{Read, Write};
use std::net::TcpStream;

/// The error code and what stands before it in an answer about one partition: the correlation id,
/// two counts and the partition, each of four bytes, and the topic's name with its length.
const BEFORE_CODE: usize = 4 + 4 + 2 + 4 + 4;

/// Writes one record with a header of that name.
pub(crate) fn write(brokers: &str, (topic, partition): (&str, i32), name: &[u8]) {
    let records = batch(&record(name));
    let mut request: Vec<u8> = Vec::new();
    // Produce, version 3, a correlation id and no client.
    request.extend_from_slice(&[0, 0, 0, 3]);
    request.extend(1_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    // Outside of any transaction, acknowledged by all, within ten seconds.
    request.extend((-1_i16).to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(10_000_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend(partition.to_be_bytes());
    request.extend(length(&records));
    request.extend(records);

    let mut broker = TcpStream::connect(brokers).unwrap();
    broker.write_all(&length(&request)).unwrap();
    broker.write_all(&request).unwrap();
    let mut size = [0_u8; 4];
    broker.read_exact(&mut size).unwrap();
    let mut answer: Vec<u8> = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
    broker.read_exact(&mut answer).unwrap();
    let code = BEFORE_CODE + topic.len();
    assert_eq!(answer[code..code + 2], [0, 0], "the broker took it");
}

fn length(bytes: &[u8]) -> [u8; 4] {
    i32::try_from(bytes.len()).unwrap().to_be_bytes()
}

/// Without a key, with an empty value, at the offset and time of its batch.
fn record(name: &[u8]) -> Vec<u8> {
    let mut body: Vec<u8> = vec![0; 3];
    body.extend(varint(-1));
    body.extend(varint(0));
    body.extend(varint(1));
    body.extend(varint(i32::try_from(name.len()).unwrap()));
    body.extend(name);
    body.extend(varint(1));
    body.push(b'x');
    let mut record = varint(i32::try_from(body.len()).unwrap());
    record.extend(body);
    record
}

/// One record, of no producer that counts.
fn batch(record: &[u8]) -> Vec<u8> {
    // Attributes, the last offset, two times; producer, its epoch and sequence; how many records.
    let mut counted: Vec<u8> = vec![0; 2 + 4 + 8 + 8];
    counted.extend((-1_i64).to_be_bytes());
    counted.extend((-1_i16).to_be_bytes());
    counted.extend((-1_i32).to_be_bytes());
    counted.extend(1_i32.to_be_bytes());
    counted.extend(record);
    // The leader's epoch, the version, the checksum.
    let mut sized = (-1_i32).to_be_bytes().to_vec();
    sized.push(2);
    sized.extend(crc32c(&counted).to_be_bytes());
    sized.extend(counted);
    let mut batch: Vec<u8> = vec![0; 8];
    batch.extend(length(&sized));
    batch.extend(sized);
    batch
}

/// A number as records have it: zigzag, seven bits in a byte, the lowest first.
fn varint(number: i32) -> Vec<u8> {
    let mut left = ((number << 1) ^ (number >> 31)).cast_unsigned();
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = (left & 0x7f).to_le_bytes();
        left >>= 7;
        if left == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))
        })
    };
    !bytes.iter().fold(!0, step)
}

/// The checksum of the standard's own example, and numbers as its text gives them.
#[test]
fn what_is_written_is_kafkas() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(varint(-1), [1]);
    assert_eq!(varint(1), [2]);
    assert_eq!(varint(150), [0xac, 0x02]);
}
