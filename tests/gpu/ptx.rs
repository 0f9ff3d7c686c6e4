//! Counting instructions in PTX.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Instructions that follow one another without a branch.
#[derive(Default)]
struct Block {
    arithmetic: usize,
    reciprocals: usize,
    reads_data: bool,
    /// Ends with the question whether a value is missing; where it isn't, goes on here.
    not_missing: Option<usize>,
    next: Vec<usize>,
}

/// A way through blocks: pairs that aren't missing, reciprocals, arithmetic.
type Way = (usize, usize, Reverse<usize>);

/// Arithmetic of that kind on the way of a pair through the inner loop, which is unrolled over four: the way with four
/// values, all reciprocals and otherwise the fewest instructions, since series and exponentials near the diagonal are longer.
pub fn per_pair(ptx: &str, kernel: &str, kind: &str) -> f64 {
    let blocks = blocks(ptx, kernel, kind);
    let (head, body) = inner_loop(&blocks);
    let (pairs, reciprocals, Reverse(arithmetic)) =
        way(&blocks, (head, &body), head, &mut BTreeMap::new()).expect("a way through the loop");
    assert!(pairs == 4 && [0, 4].contains(&reciprocals), "{kernel}: {pairs} pairs, {reciprocals} reciprocals");
    arithmetic as f64 / 4.0
}

fn blocks(ptx: &str, kernel: &str, kind: &str) -> Vec<Block> {
    let start = ptx.find(&format!(".entry {kernel}(")).expect(kernel);
    let body = &ptx[start..];
    let body = &body[body.find("\n{").unwrap() + 2..body.find("\n}").unwrap()];
    let mut labels = BTreeMap::new();
    let mut lines: Vec<Vec<&str>> = vec![Vec::new()];
    for line in body.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(label) = line.strip_suffix(':') {
            lines.push(Vec::new());
            labels.insert(label, lines.len() - 1);
            continue;
        }
        lines.last_mut().unwrap().push(line);
        if line.contains("bra") || line.starts_with("ret") {
            lines.push(Vec::new());
        }
    }
    let block = |(k, own): (usize, &Vec<&str>)| {
        let (mut block, mut falls, mut asks) = (Block::default(), true, false);
        for line in own {
            let (may_not, line) = match line.strip_prefix('@') {
                Some(rest) => (true, rest.split_once(char::is_whitespace).unwrap().1.trim()),
                None => (false, *line),
            };
            let opcode = line.split(|c: char| c.is_whitespace() || c == ';').next().unwrap();
            let parts: Vec<&str> = opcode.split('.').collect();
            match parts[0] {
                "bra" => {
                    let target = line.trim_end_matches(';').split_whitespace().last().unwrap();
                    block.next.push(labels[target]);
                    falls = may_not;
                }
                "ret" => falls = may_not,
                _ if opcode == "setp.nan.f32" => asks = true,
                "rcp" | "div" if parts.contains(&kind) => block.reciprocals += 1,
                "add" | "sub" | "mul" | "fma" | "neg" | "setp" if parts.contains(&kind) => block.arithmetic += 1,
                "ld" => block.reads_data |= parts.contains(&"global") && parts.contains(&"v4"),
                _ => {}
            }
        }
        if falls && k + 1 < lines.len() {
            block.next.push(k + 1);
            block.not_missing = asks.then_some(k + 1);
        }
        block
    };
    lines.iter().enumerate().map(block).collect()
}

/// The smallest loop in which data are read, and where it begins.
fn inner_loop(blocks: &[Block]) -> (usize, BTreeSet<usize>) {
    let mut before = vec![Vec::new(); blocks.len()];
    for (k, block) in blocks.iter().enumerate() {
        block.next.iter().for_each(|&next| before[next].push(k));
    }
    let mut loops = Vec::new();
    for (end, block) in blocks.iter().enumerate() {
        // blocks lie in their order, so what leads back is a loop's end
        for &head in block.next.iter().filter(|&&next| next <= end) {
            let (mut body, mut waiting) = (BTreeSet::from([head]), vec![end]);
            while let Some(k) = waiting.pop() {
                if body.insert(k) {
                    waiting.extend(&before[k]);
                }
            }
            loops.push((head, body));
        }
    }
    loops.retain(|(_, body)| body.iter().any(|&k| blocks[k].reads_data));
    loops.into_iter().min_by_key(|(_, body)| body.len()).expect("a loop over the data")
}

/// The best way from a block to the loop's end, if there is one.
fn way(
    blocks: &[Block],
    (head, body): (usize, &BTreeSet<usize>),
    from: usize,
    known: &mut BTreeMap<usize, Option<Way>>,
) -> Option<Way> {
    if let Some(found) = known.get(&from) {
        return *found;
    }
    // while it is looked at: a way that comes back here is none
    known.insert(from, None);
    let block = &blocks[from];
    let mut best: Option<Way> = None;
    for &next in block.next.iter().filter(|next| body.contains(next)) {
        let rest = if next == head { Some((0, 0, Reverse(0))) } else { way(blocks, (head, body), next, known) };
        if let Some((pairs, reciprocals, arithmetic)) = rest {
            best = best.max(Some((pairs + usize::from(block.not_missing == Some(next)), reciprocals, arithmetic)));
        }
    }
    let own = |(p, r, Reverse(a)): Way| (p, r + block.reciprocals, Reverse(a + block.arithmetic));
    let found = best.map(own);
    known.insert(from, found);
    found
}
