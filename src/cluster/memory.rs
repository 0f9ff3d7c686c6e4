//! Memory of this machine and this process, as the kernel counts it.

/// Memory of the machine, bytes.
pub fn physical() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
    let kb: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb * 1024.0)
}

/// Largest resident memory so far, bytes; 0 where the kernel doesn't say.
pub fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_what_was_touched() {
        let before = super::peak();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(super::peak() >= before.max(64 << 20), "{}", block.len());
    }
}
