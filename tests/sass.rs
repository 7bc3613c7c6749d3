//! What nvcc made of the kernels, read from the machine code: that each waits for the launches before it, and of the
//! innermost loops on tensor cores, how many instructions a step issues for its products, and how many beside them.
//!
//! A warp scheduler issues one instruction a cycle, of whatever kind, so what addresses cost in a step is what the
//! products wait for. On Hopper, that products of whole warp groups run one behind the other, fed by bulk copies.
#![cfg(rir_cuda)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use rir::device::cuda::images::{Image, images};

const CUOBJDUMP: Option<&str> = option_env!("RIR_CUOBJDUMP");

struct Instruction {
    address: u32,
    text: String,
}

impl Instruction {
    /// `HMMA` of `@!P0 HMMA.16816.F32.BF16 R4, ...`.
    fn opcode(&self) -> &str {
        let guarded = self.text.strip_prefix('@').and_then(|text| text.split_once(' '));
        let words = guarded.map_or(self.text.as_str(), |(_, words)| words);
        words.split([' ', '.']).next().expect("there is a first")
    }
    /// Where a branch may lead, and whether what stands after it may follow.
    fn next(&self) -> (Option<u32>, bool) {
        // Plain branches alone are always taken.
        let conditional = self.text.starts_with('@') || self.text.starts_with("BRA.");
        let to = self.text.rsplit_once("0x").filter(|_| self.opcode() == "BRA");
        let to = to.map(|(_, digits)| u32::from_str_radix(digits, 16).expect("an address"));
        (to, conditional || !matches!(self.opcode(), "BRA" | "EXIT" | "RET"))
    }
}

/// The kernels of a listing by `cuobjdump -sass`, by name.
fn read(listing: &str) -> BTreeMap<String, Vec<Instruction>> {
    let mut kernels: BTreeMap<String, Vec<Instruction>> = BTreeMap::new();
    let mut name = String::new();
    for line in listing.lines().map(str::trim) {
        if let Some(function) = line.strip_prefix("Function : ") {
            name = function.into();
        }
        // `/*0520*/  @P0 BRA 0xcd0 ;  /* 0x... */`; a line of encoding alone has no semicolon.
        let Some((address, rest)) = line.strip_prefix("/*").and_then(|l| l.split_once("*/")) else {
            continue;
        };
        let (Ok(address), Some((text, _))) = (u32::from_str_radix(address, 16), rest.split_once(';')) else {
            continue;
        };
        kernels.entry(name.clone()).or_default().push(Instruction { address, text: text.trim().into() });
    }
    kernels
}

/// Every instruction that is reached from some along `edges`, without going on from `end`.
fn reached(from: &[usize], edges: &[Vec<usize>], end: Option<usize>) -> BTreeSet<usize> {
    let (mut seen, mut waiting) = (BTreeSet::new(), from.to_vec());
    while let Some(i) = waiting.pop() {
        if seen.insert(i) && end != Some(i) {
            waiting.extend(&edges[i]);
        }
    }
    seen
}

/// What the innermost loop around an `opcode` executes, counted by opcode, both ways of every branch.
fn loop_around(opcode: &str, code: &[Instruction]) -> BTreeMap<String, usize> {
    let at: BTreeMap<u32, usize> = code.iter().enumerate().map(|(i, c)| (c.address, i)).collect();
    let mut after = vec![Vec::new(); code.len()];
    let mut before = vec![Vec::new(); code.len()];
    // What jumps back, by where to: a loop's last instructions by its first.
    let mut jumps: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, instruction) in code.iter().enumerate() {
        let (to, falls_through) = instruction.next();
        let to = to.map(|to| at[&to]);
        let following = (falls_through && i + 1 < code.len()).then_some(i + 1);
        for next in to.into_iter().chain(following) {
            after[i].push(next);
            before[next].push(i);
        }
        to.into_iter().filter(|&to| to <= i).for_each(|to| jumps.entry(to).or_default().push(i));
    }
    let bodies = jumps.iter().map(|(&first, last)| {
        let (down, up) = (reached(&[first], &after, None), reached(last, &before, Some(first)));
        down.intersection(&up).copied().collect::<BTreeSet<usize>>()
    });
    let around = bodies.filter(|body| body.iter().any(|&i| code[i].opcode() == opcode));
    let mut counts = BTreeMap::new();
    for i in around.min_by_key(BTreeSet::len).unwrap_or_default() {
        *counts.entry(code[i].opcode().to_owned()).or_default() += 1;
    }
    counts
}

fn listing(image: &Image, folder: &Path) -> String {
    let file = folder.join(format!("{}.{}.cubin", image.family, image.architecture));
    std::fs::write(&file, image.load().unwrap()).unwrap();
    let cuobjdump = CUOBJDUMP.expect("the build found one");
    let output = Command::new(cuobjdump).arg("-sass").arg(&file).output().unwrap();
    assert!(output.status.success(), "{cuobjdump}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A step of a warp, of a tile so many columns wide: its mma, and the ldmatrix of 16 x 16 parts that feed them.
fn products(columns: usize) -> (usize, usize) {
    let (rows, columns) = match columns {
        32 => (32, 32),
        192 => (64, 48),
        _ => (64, columns / 2),
    };
    (2 * (rows / 16) * (columns / 8), 2 * (rows / 16 + columns / 16))
}

#[test]
#[cfg_attr(not(rir_cuobjdump), ignore = "there is no cuobjdump beside nvcc")]
fn tensor_cores_wait_for_few_other_instructions() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for image in images().all.iter().filter(|i| i.family.starts_with("conv2d_mma_") && !i.architecture.ptx) {
        for (kernel, code) in read(&listing(image, folder.path())) {
            let Some(columns) = kernel.split('_').nth_back(1).and_then(|columns| columns.parse().ok()) else {
                panic!("{kernel} has no width");
            };
            if kernel.contains("_any_") {
                continue;
            }
            let counts = loop_around("HMMA", &code);
            let of = |opcode: &str| counts.get(opcode).copied().unwrap_or(0);
            let beside = counts.values().sum::<usize>() - of("HMMA") - of("LDSM") - of("LDGSTS");
            println!(
                "{kernel} on {}: {} HMMA, {} LDSM, {beside} beside",
                image.architecture,
                of("HMMA"),
                of("LDSM")
            );
            // 128 rows and the columns, 32 deep, in chunks of 8, a thread one each time.
            let threads = if columns == 192 { 256 } else { 128 };
            let expected = (products(columns).0, products(columns).1, (128 + columns) * 4 / threads);
            if (of("HMMA"), of("LDSM"), of("LDGSTS")) != expected {
                wrong.push(format!("{kernel} on {}: {counts:?}, not {expected:?}", image.architecture));
            }
            // Of the weight gradient half is what finds the pixels of four steps, once in four. On sm_120 up to 60 are
            // empty ones between two HMMA.
            let most = if kernel.contains("weight_grad") { 240 } else { 150 };
            if beside > most {
                wrong.push(format!("{kernel} on {}: {beside} instructions beside", image.architecture));
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 0 || images().all.iter().all(|image| image.architecture.ptx));
}

/// The code from where the shortest branch back around the first `opcode` leads, to that branch.
fn innermost_around<'a>(opcode: &str, code: &'a [Instruction]) -> &'a [Instruction] {
    let Some(first) = code.iter().position(|c| c.opcode() == opcode) else { return &[] };
    let loops = (first..code.len()).filter_map(|end| {
        let to = code[end].next().0?;
        let begin = code.iter().position(|c| c.address == to)?;
        (begin <= first).then(|| &code[begin..=end])
    });
    loops.min_by_key(|code| code.len()).unwrap_or(&[])
}

/// HGMMA of a step of a warp group, by the kernel's name: those of its depth for each 64 of its rows.
fn group_products(kernel: &str, columns: usize) -> usize {
    let has = |part: &str| kernel.contains(part);
    let (in_patches, weight_grad) = (has("_halo_") || has("_resident_"), has("weight_grad"));
    if in_patches && weight_grad {
        // 128 pixels. Of the five blocks of 64 rows the second group has two, whose code comes first.
        return 2 * (128 / 16);
    }
    let persistent = !has("_wgmma_ws_") && !has(&format!("_wgmma_{columns}_"));
    let tall = weight_grad && columns == 192;
    let rows = if persistent && (columns <= 96 || tall) { 128 } else { 64 };
    // Three spans of 32 channels, or three taps of them; 64 channels, or 64 pixels.
    let by_three = !weight_grad && (in_patches || has("_span32_"));
    let depth = if by_three { 96 } else { 64 };
    rows / 64 * (depth / 16)
}

#[test]
#[cfg_attr(not(rir_cuobjdump), ignore = "there is no cuobjdump beside nvcc")]
fn warp_groups_multiply_without_waiting_for_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for image in images().all.iter().filter(|i| i.family.starts_with("conv2d_wgmma")) {
        for (kernel, code) in read(&listing(image, folder.path())) {
            let Some(columns) = kernel.split('_').filter_map(|part| part.parse().ok()).next_back() else {
                panic!("{kernel} has no width");
            };
            let has = |what: &str| code.iter().any(|c| c.text.contains(what));
            let step = innermost_around("HGMMA", &code);
            let products: Vec<_> = step.iter().filter(|c| c.opcode() == "HGMMA").collect();
            // The last of a step alone is waited for; where they are serialised, every one.
            let awaited = products.iter().filter(|c| c.text.contains("gsb0")).count();
            let beside = step.len() - products.len();
            println!("{kernel}: {} HGMMA, {beside} beside", products.len());
            let mut check = |holds: bool, what: String| {
                if !holds {
                    wrong.push(format!("{kernel}: {what}"));
                }
            };
            let expected = group_products(&kernel, columns);
            check(products.len() == expected, format!("{} HGMMA a step, not {expected}", products.len()));
            check(awaited == 1, format!("waits for {awaited} HGMMA in a step"));
            check(!step.iter().any(|c| c.opcode() == "MEMBAR"), "a fence in every step".into());
            // A scheduler issues for a warp of each of two groups; a product takes half as many cycles as it has columns.
            // In the first form, whoever multiplies copies as well.
            let (issued, cycles) = (2 * step.len(), 2 * products.len() * columns / 2);
            let copies_too = kernel.contains(&format!("_wgmma_{columns}_"));
            check(issued <= cycles || copies_too, format!("{issued} instructions in {cycles} cycles"));
            check(has("UTMALDG"), "no bulk copies".into());
            let clustered = ["_cluster_", "_halo_", "_store_"].iter().any(|form| kernel.contains(form))
                && !kernel.contains("weight_grad_wgmma_halo");
            check(has("MULTICAST") == clustered, "shares its copies, or does not".into());
            let stores = kernel.contains("_store_");
            check(
                has("UTMASTG") == stores && has("STSM") == stores,
                "goes out by copies, or does not".into(),
            );
            check(!has("LDL") && !has("STL"), "local memory".into());
            seen += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 0 || images().all.iter().all(|image| !image.architecture.exact));
}

#[test]
fn the_innermost_loop_is_found() {
    let listing = "\
        \t\tFunction : nested\n\
        \t/*0000*/ MOV R1, c[0x0][0x28] ; /* 0x1 */\n\
        \t/*0010*/ IADD3 R2, R2, 0x1, RZ ; /* 0x1 */\n\
        \t/*0020*/ @P0 BRA 0x60 ; /* 0x1 */\n\
        \t/*0030*/ HGMMA.64x96x16.F32.BF16 R24, gdesc[UR12], R24, UP0 ; /* 0x1 */\n\
        \t/*0040*/ HGMMA.64x96x16.F32.BF16 R24, gdesc[UR12], R24, gsb0 ; /* 0x1 */\n\
        \t/*0050*/ @!P1 BRA 0x20 ; /* 0x1 */\n\
        \t/*0060*/ @!P2 BRA 0x10 ; /* 0x1 */\n\
        \t/*0070*/ EXIT ; /* 0x1 */\n";
    let kernels = read(listing);
    let of =
        |opcode| innermost_around(opcode, &kernels["nested"]).iter().map(|c| c.address).collect::<Vec<_>>();
    assert_eq!(of("HGMMA"), [0x20, 0x30, 0x40, 0x50]);
    assert_eq!(of("IADD3"), [0x10, 0x20, 0x30, 0x40, 0x50, 0x60]);
    assert!(of("EXIT").is_empty() && of("HMMA").is_empty());
    assert_eq!(group_products("conv2d_wgmma_ws_96_span32_bf16", 96), 6);
    assert_eq!(group_products("conv2d_wgmma_persistent_96_span32_bf16", 96), 12);
    assert_eq!(group_products("conv2d_data_grad_wgmma_halo_192_bf16", 192), 6);
    assert_eq!(group_products("conv2d_wgmma_store_halo_96_bf16", 96), 12);
    assert_eq!(group_products("conv2d_data_grad_wgmma_resident_96_bf16", 96), 12);
    assert_eq!(group_products("conv2d_weight_grad_wgmma_96_span32_bf16", 96), 4);
    assert_eq!(group_products("conv2d_weight_grad_wgmma_cluster_192_bf16", 192), 8);
    assert_eq!(group_products("conv2d_weight_grad_wgmma_halo_64_bf16", 64), 16);
}

/// Whether it reads or writes global memory, or starts a copy that does. UTMACCTL.PF asks for a tensor map, which is a
/// parameter.
fn touches_global_memory(opcode: &str) -> bool {
    let kinds = ["LDG", "STG", "ATOM", "RED", "UTMA", "UBLK"];
    let copies = opcode != "UTMACCTL" && kinds.iter().any(|kind| opcode.starts_with(kind));
    copies || ["LD", "ST"].contains(&opcode)
}

/// What is wrong with how a kernel begins: `griddepcontrol.launch_dependents` (PREEXIT), then `griddepcontrol.wait`
/// (ACQBULK), by every thread, before anything of global memory is touched. Until then it may make barriers, and branch
/// around that, but not past its wait.
fn wrong_beginning(code: &[Instruction]) -> Option<String> {
    let place = |opcode: &str| code.iter().position(|instruction| instruction.opcode() == opcode);
    let (Some(lets), Some(waits)) = (place("PREEXIT"), place("ACQBULK")) else {
        return Some("does not let the next launch begin, or does not wait for the one before".into());
    };
    let early = code[..waits].iter().find(|instruction| {
        let leaves = match instruction.opcode() {
            "BRA" => instruction.next().0.is_none_or(|to| to > code[waits].address),
            opcode => ["EXIT", "CALL", "RET", "BRX", "JMP"].contains(&opcode),
        };
        leaves || touches_global_memory(instruction.opcode())
    });
    match early {
        Some(instruction) => Some(format!("before it waits: {}", instruction.text)),
        None if lets > waits => Some("waits first".into()),
        None => code[waits].text.starts_with('@').then(|| "not every thread waits".into()),
    }
}

#[test]
#[cfg_attr(not(rir_cuobjdump), ignore = "there is no cuobjdump beside nvcc")]
fn every_kernel_waits_for_the_launches_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let overlaps = |image: &&Image| image.architecture.capability >= (9, 0) && !image.architecture.ptx;
    let mut wrong = Vec::new();
    for image in images().all.iter().filter(overlaps) {
        for (kernel, code) in read(&listing(image, folder.path())) {
            wrong.extend(
                wrong_beginning(&code).map(|what| format!("{kernel} on {}: {what}", image.architecture)),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_beginning_is_found() {
    let found = |lines: &[&str]| {
        let code = lines.iter().zip(0..).map(|(text, address)| Instruction { address, text: (*text).into() });
        wrong_beginning(&code.collect::<Vec<_>>())
    };
    assert_eq!(found(&["PREEXIT", "S2R R0, SR_TID.X", "ACQBULK", "LDG.E R2, desc[UR4][R2.64]"]), None);
    let early = found(&["PREEXIT", "UTMALDG.2D [UR8], [UR4]", "ACQBULK"]).unwrap();
    assert!(early.contains("UTMALDG"), "{early}");
    assert_eq!(found(&["PREEXIT", "@P0 BRA 0x3", "UTMACCTL.PF [UR4]", "ACQBULK", "EXIT"]), None);
    let past = found(&["PREEXIT", "@P0 BRA 0x4", "UTMACCTL.PF [UR4]", "ACQBULK", "EXIT"]).unwrap();
    assert!(past.contains("BRA 0x4"), "{past}");
    assert!(found(&["PREEXIT", "@P0 EXIT", "ACQBULK"]).unwrap().contains("@P0 EXIT"));
    assert!(found(&["ACQBULK", "PREEXIT", "EXIT"]).unwrap().contains("waits first"));
    assert!(found(&["PREEXIT", "@P0 ACQBULK", "EXIT"]).unwrap().contains("not every thread"));
    assert!(found(&["PREEXIT", "EXIT"]).unwrap().contains("does not wait"));
}

#[test]
fn a_loop_is_found_and_counted() {
    let listing = "\
        \t\tFunction : first\n\
        \t/*0000*/ MOV R1, c[0x0][0x28] ; /* 0x00000a0000017a02 */\n\
        \t                              /* 0x000fe40000000f00 */\n\
        \t/*0010*/ HMMA.16816.F32.BF16 R4, R8, R10, RZ ; /* 0x1 */\n\
        \t/*0020*/ @P0 BRA 0x50 ; /* 0x1 */\n\
        \t/*0030*/ @!P1 HMMA.16816.F32.BF16 R4, R8, R10, R4 ; /* 0x1 */\n\
        \t/*0040*/ BRA.U UP0, 0x70 ; /* 0x1 */\n\
        \t/*0050*/ EXIT ; /* 0x1 */\n\
        \t/*0060*/ NOP ; /* 0x1 */\n\
        \t/*0070*/ LDSM.16.M88.4 R8, [R2] ; /* 0x1 */\n\
        \t/*0080*/ BRA 0x30; /* 0x1 */\n\
        \t\tFunction : second\n\
        \t/*0000*/ EXIT ; /* 0x1 */\n";
    let kernels = read(listing);
    assert_eq!(kernels.keys().collect::<Vec<_>>(), ["first", "second"]);
    let counts = loop_around("HMMA", &kernels["first"]);
    let expected = [("BRA", 2), ("HMMA", 1), ("LDSM", 1)];
    assert_eq!(counts, expected.map(|(opcode, n)| (opcode.to_owned(), n)).into());
    assert_eq!(loop_around("HMMA", &kernels["second"]), BTreeMap::new());
}
