//! What ptxas says of each kernel: registers, shared memory, and what it could not keep in registers.

/// A kernel on one architecture, in bytes where it is memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    pub name: String,
    pub registers: u32,
    pub barriers: u32,
    pub static_shared: u32,
    pub stack: u32,
    pub spill_stores: u32,
    pub spill_loads: u32,
    pub local: u32,
    /// Of its launch bounds.
    pub max_threads: u32,
    pub min_blocks: u32,
}

/// A family on one architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub kernels: Vec<Kernel>,
    /// Warnings, and remarks on lost performance.
    pub remarks: Vec<String>,
}

impl Report {
    /// Remarks that no kernel may have: what it asks of the hardware was ignored (`setmaxnreg`, C7508), or serialised
    /// (wgmma, C7511 and C7517). ptxas exits with success all the same.
    pub fn losses(&self) -> impl Iterator<Item = &str> {
        self.remarks.iter().map(String::as_str).filter(|r| r.contains("Potential Performance Loss"))
    }

    /// JSON objects, one a kernel, separated by commas.
    pub fn json(&self, family: &str, architecture: &str) -> String {
        let remarks: Vec<_> = self.remarks.iter().map(|r| quoted(r)).collect();
        let kernels: Vec<_> = self
            .kernels
            .iter()
            .map(|k| {
                format!(
                    "{{\"family\":{},\"architecture\":{},\"kernel\":{},\"registers\":{},\"barriers\":{},\
                     \"static_shared\":{},\"stack\":{},\"spill_stores\":{},\"spill_loads\":{},\"local\":{},\
                     \"max_threads\":{},\"min_blocks\":{},\"remarks\":[{}]}}",
                    quoted(family),
                    quoted(architecture),
                    quoted(&k.name),
                    k.registers,
                    k.barriers,
                    k.static_shared,
                    k.stack,
                    k.spill_stores,
                    k.spill_loads,
                    k.local,
                    k.max_threads,
                    k.min_blocks,
                    remarks.join(",")
                )
            })
            .collect();
        kernels.join(",\n")
    }
}

/// The lines of a PTX file that name its kernels and their launch bounds.
pub fn directives(ptx: &str) -> String {
    let wanted = |line: &&str| {
        (line.starts_with(".visible .entry") || line.starts_with(".entry"))
            || [".maxntid", ".reqntid", ".minnctapersm"].iter().any(|d| line.starts_with(d))
    };
    ptx.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect()
}

/// Reads [`directives`] of the PTX and what `ptxas -v` printed for it (nothing, for an image of PTX).
pub fn parse(directives: &str, printed: &str) -> Report {
    let mut report = Report::default();
    for line in directives.lines() {
        if let Some((_, rest)) = line.split_once(".entry ") {
            let name = rest.split('(').next().unwrap_or(rest).trim().to_owned();
            report.kernels.push(Kernel { name, ..Kernel::default() });
        } else if let Some(kernel) = report.kernels.last_mut() {
            let mut numbers = line.split([' ', ',']).filter_map(|word| word.parse::<u32>().ok());
            if line.starts_with(".minnctapersm") {
                kernel.min_blocks = numbers.next_back().unwrap_or(0);
            } else {
                kernel.max_threads = numbers.product();
            }
        }
    }
    let mut current = None;
    for line in printed.lines() {
        if line.contains("Potential Performance Loss") || line.starts_with("ptxas warning") {
            report.remarks.push(line.trim().to_owned());
        }
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let name = rest.split('\'').next().unwrap_or(rest);
            current = report.kernels.iter().position(|k| k.name == name);
        }
        let Some(kernel) = current.map(|n| &mut report.kernels[n]) else { continue };
        if line.contains(" stack frame") || line.contains(": Used ") {
            // A function that the kernel calls is listed behind it, and what that spills the kernel spills.
            let said = line.rsplit("info    :").next().unwrap_or(line);
            for part in said.split(',') {
                measure(kernel, part.trim());
            }
        }
    }
    report
}

/// Reads one part of a line, such as `12 bytes spill stores` or `used 1 barriers`.
fn measure(kernel: &mut Kernel, part: &str) {
    let words: Vec<&str> = part.split_whitespace().filter(|w| !w.eq_ignore_ascii_case("used")).collect();
    let Some((number, what)) = words.split_first() else { return };
    let Ok(number) = number.parse::<u32>() else { return };
    let field = match what.join(" ").as_str() {
        "registers" => &mut kernel.registers,
        "barriers" => &mut kernel.barriers,
        "bytes smem" => &mut kernel.static_shared,
        "bytes stack frame" | "bytes cumulative stack size" => &mut kernel.stack,
        "bytes spill stores" => &mut kernel.spill_stores,
        "bytes spill loads" => &mut kernel.spill_loads,
        "bytes lmem" => &mut kernel.local,
        _ => return,
    };
    *field = number.max(*field);
}

fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c if c.is_control() => vec![' '],
            c => vec![c],
        })
        .collect();
    format!("\"{escaped}\"")
}
