//! What a member of a consumer group was assigned, in the consumer protocol's own encoding: a version, then topics with their
//! partitions, then bytes that are the assignor's business. Must never happen here: an allocation that the bytes claim.

/// Topics and partitions; nothing for bytes that are something else.
pub fn partitions(bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    let mut rest = Rest(bytes);
    rest.short()?;
    let mut found = Vec::new();
    for _ in 0..rest.int()? {
        let length = rest.short()?;
        let topic = std::str::from_utf8(rest.take(usize::try_from(length).ok()?)?).ok()?;
        for _ in 0..rest.int()? {
            found.push((topic.to_owned(), rest.int()?));
        }
    }
    Some(found)
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_partitions_are_read_and_nothing_else_is_believed() {
        let mut bytes =
            vec![0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 2, b'b', b'c', 0, 0, 0, 1];
        bytes.extend([0, 0, 0, 1]);
        let expected = [("a", 0), ("a", 7), ("bc", 1)].map(|(topic, partition)| (topic.to_owned(), partition));
        assert_eq!(partitions(&bytes), Some(expected.to_vec()));
        bytes.extend([255, 255, 255, 255]);
        assert_eq!(partitions(&bytes).map(|found| found.len()), Some(3), "the assignor's own bytes are left alone");
        for cut in 0..bytes.len() - 4 {
            assert_eq!(partitions(&bytes[..cut]), None, "{cut} bytes");
        }
        assert_eq!(partitions(&[0, 0, 127, 255, 255, 255]), None);
        assert_eq!(partitions(&[]), None);
    }
}
