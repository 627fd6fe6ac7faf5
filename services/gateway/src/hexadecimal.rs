//! Bytes as lower-case hexadecimal digits. Every request is signed with several such texts, and
//! the library's own way to a `String` goes character by character, at five times the cost.

/// Two digits for each of `bytes`.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let mut digits = vec![0; bytes.len() * 2];
    // There is room for exactly these digits, and digits are always text.
    let written = hex::encode_to_slice(bytes, &mut digits);
    written
        .ok()
        .and_then(|()| String::from_utf8(digits).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::hexadecimal;

    /// It is what the library writes, whatever the bytes and however many.
    #[test]
    fn digits_are_those_of_the_library() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        for bytes in [&all[..], &all[..1], &[]] {
            assert_eq!(hexadecimal(bytes), hex::encode(bytes));
        }
    }
}
