//! What `strace` recorded of a server: files, programs, connections, and what it should not have tried.
//!
//! **Only what was asked of the system is in it**, and of files only those that do not belong to every program: what the
//! system's own folders hold, what the program itself lies in, and what every process reads of itself are left out.

use std::path::Path;

use super::report::Trace;

/// The calls that are recorded.
pub(super) const CALLS: &str = "trace=execve,execveat,open,openat,openat2,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,\
                                mkdirat,symlinkat,linkat,truncate,connect,sendto,sendmsg,sendmmsg,mount,unshare,setns,ptrace,\
                                bpf,keyctl,init_module,finit_module,kexec_load,setsid";
/// How many entries of each kind are kept.
const MOST: usize = 200;
/// Where every program reads.
const COMMON: [&str; 12] = [
    "/usr/",
    "/lib/",
    "/lib64/",
    "/bin/",
    "/sbin/",
    "/proc/",
    "/sys/",
    "/dev/",
    "/etc/ld.so",
    "/etc/localtime",
    "/nix/store/",
    "/etc/ssl/",
];
/// What becomes the server in a sandbox.
const KEEPER: &str = "/.portcullis";
/// What no server needs.
const PRIVILEGED: [&str; 9] =
    ["mount", "unshare", "setns", "ptrace", "bpf", "keyctl", "init_module", "finit_module", "kexec_load"];

/// What was recorded, and what else follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) trace: Trace,
    /// Names that were looked up.
    pub(super) names: Vec<String>,
    /// Calls that no server needs.
    pub(super) privileged: Vec<String>,
    /// How often a file was refused because too many were open.
    pub(super) too_many_files: u64,
}

/// Understands a recording. `own` are the folders of the program, which every start reads; what comes before `program` is
/// started is not the server's, but of what keeps it apart, which goes by the path `/.portcullis` last.
pub(super) fn understand(text: &str, own: &[String], program: &str) -> Recorded {
    let mut recorded = Recorded::default();
    let is_kept_apart = text.lines().filter_map(parse).any(|call| is_keeper(&call));
    let (mut kept, mut is_server) = (!is_kept_apart, false);
    for call in text.lines().filter_map(parse) {
        if !kept {
            kept = is_keeper(&call);
        } else if !is_server {
            // Only from here on it is the server that acts.
            is_server = call.name.starts_with("execve") && call.result >= 0 && is_program(&call, program);
        } else {
            add(&call, own, &mut recorded);
        }
    }
    recorded
}

fn is_keeper(call: &Call<'_>) -> bool {
    call.name == "execve" && call.text().is_some_and(|path| path == KEEPER)
}

fn is_program(call: &Call<'_>, program: &str) -> bool {
    let name = |path: &str| Path::new(path).file_name().map(std::ffi::OsStr::to_owned);
    call.text().is_some_and(|path| name(&path) == name(program))
}

/// A call of the system.
struct Call<'t> {
    name: &'t str,
    arguments: &'t str,
    /// What it returned; less than nothing where it failed.
    result: i64,
    /// Why it failed.
    error: &'t str,
}

impl Call<'_> {
    /// Returns its first text.
    fn text(&self) -> Option<String> {
        self.texts().next()
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        let mut rest = self.arguments;
        std::iter::from_fn(move || {
            let start = rest.find('"')? + 1;
            let mut length = 0;
            let mut escaped = false;
            for c in rest[start..].chars() {
                if c == '"' && !escaped {
                    break;
                }
                escaped = c == '\\' && !escaped;
                length += c.len_utf8();
            }
            let text = rest[start..start + length].to_owned();
            rest = rest.get(start + length + 1..).unwrap_or_default();
            Some(text)
        })
    }
}

/// Parses `12 openat(AT_FDCWD, "/a", O_RDONLY) = -1 ENOENT (No such file or directory)`.
fn parse(line: &str) -> Option<Call<'_>> {
    let line = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
    let (name, rest) = line.split_once('(')?;
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let (arguments, result) = match rest.rsplit_once(" = ") {
        Some((arguments, result)) => (arguments, result),
        // It was interrupted by another process's; what it came to stands elsewhere.
        None => (rest, "0"),
    };
    let mut words = result.split_whitespace();
    let result = words.next()?.parse().unwrap_or(0);
    is_name.then_some(Call { name, arguments, result, error: words.next().unwrap_or_default() })
}

fn add(call: &Call<'_>, own: &[String], recorded: &mut Recorded) {
    let trace = &mut recorded.trace;
    match call.name {
        "execve" | "execveat" if call.result >= 0 => note(&mut trace.programs, call.text()),
        "connect" | "sendto" | "sendmsg" | "sendmmsg" => {
            for name in call.texts().filter_map(|text| question(&unescape(&text))) {
                note(&mut recorded.names, Some(name));
            }
            let address = address(call.arguments).filter(|address| !address.ends_with(":53"));
            note(&mut trace.connections, address);
        }
        name if PRIVILEGED.contains(&name) => note(&mut recorded.privileged, Some(name.to_owned())),
        "setsid" | "execve" | "execveat" => {}
        "open" | "openat" | "openat2" | "creat" => {
            if call.error == "EMFILE" {
                recorded.too_many_files += 1;
            }
            let Some(path) = call.text().filter(|path| is_telling(path, own)) else { return };
            let writes = call.name == "creat"
                || ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"]
                    .iter()
                    .any(|flag| call.arguments.contains(flag));
            match call.error {
                "EACCES" | "EPERM" | "EROFS" => note(&mut trace.denied, Some(path)),
                _ if call.result < 0 => {}
                _ if writes => note(&mut trace.written, Some(path)),
                _ if call.arguments.contains("O_DIRECTORY") => {}
                _ => note(&mut trace.read, Some(path)),
            }
        }
        _ => {
            let Some(path) = call.texts().last().filter(|path| is_telling(path, own)) else { return };
            match call.error {
                "EACCES" | "EPERM" | "EROFS" => note(&mut trace.denied, Some(path)),
                _ if call.result < 0 => {}
                _ => note(&mut trace.written, Some(path)),
            }
        }
    }
}

fn is_telling(path: &str, own: &[String]) -> bool {
    path.starts_with('/')
        && !COMMON.iter().any(|common| path.starts_with(common))
        && !own.iter().any(|own| Path::new(path).starts_with(own))
}

/// Takes the address out of `{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("198.51.100.7")}`.
fn address(arguments: &str) -> Option<String> {
    let between = |before: &str, after: &str| {
        let (_, rest) = arguments.split_once(before)?;
        rest.split_once(after).map(|(found, _)| found)
    };
    let port = between("_port=htons(", ")")?;
    if let Some(host) = between("inet_addr(\"", "\"") {
        return Some(format!("{host}:{port}"));
    }
    between("inet_pton(AF_INET6, \"", "\"").map(|host| format!("[{host}]:{port}"))
}

/// Takes the name out of a query to a name server.
fn question(datagram: &[u8]) -> Option<String> {
    let (header, mut rest) = datagram.split_at_checked(12)?;
    if header[2] & 0x80 != 0 || header[4..6] != [0, 1] {
        return None;
    }
    let mut labels = Vec::new();
    loop {
        let (length, after) = rest.split_first()?;
        if *length == 0 {
            break;
        }
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        let is_label = label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        labels.push(String::from_utf8(label.to_vec()).ok().filter(|_| is_label)?);
        rest = after;
    }
    (!labels.is_empty()).then(|| labels.join("."))
}

/// Returns the bytes of a text as it stands in a recording: `\7example\3com\0`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some(sign) = rest.next() else { break };
        let digit = |b: u8| matches!(b, b'0'..=b'7').then(|| u32::from(b - b'0'));
        bytes.push(match sign {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 11,
            b'f' => 12,
            b'a' => 7,
            b'b' => 8,
            b'0'..=b'7' => {
                let mut value = digit(sign).unwrap_or(0);
                for _ in 0..2 {
                    let Some(next) = rest.peek().copied().and_then(digit) else { break };
                    value = value * 8 + next;
                    rest.next();
                }
                u8::try_from(value & 255).unwrap_or(0)
            }
            other => other,
        });
    }
    bytes
}

fn note(list: &mut Vec<String>, entry: Option<String>) {
    if let Some(entry) = entry.filter(|entry| list.len() < MOST && !list.contains(entry)) {
        list.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"10 execve("/usr/bin/bwrap", ["bwrap"], 0x7 /* 3 vars */) = 0
10 mount(NULL, "/", NULL, MS_SLAVE, NULL) = 0
11 execve("/opt/server", ["server"], 0x7 /* 3 vars */) = 0
11 openat(AT_FDCWD, "/usr/lib/libc.so", O_RDONLY|O_CLOEXEC) = 3
11 openat(AT_FDCWD, "/opt/lib/a.js", O_RDONLY) = 3
11 openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3
11 openat(AT_FDCWD, "/etc/shadow", O_RDONLY) = -1 EACCES (Permission denied)
11 openat(AT_FDCWD, "/pwn", O_WRONLY|O_CREAT|O_TRUNC, 0666) = -1 EROFS (Read-only file system)
11 openat(AT_FDCWD, "/data/new \"x\"", O_RDWR|O_CREAT, 0666 <unfinished ...>
12 openat(AT_FDCWD, "/dev/null", O_RDONLY) = -1 EMFILE (Too many open files)
12 connect(4, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("198.51.100.7")}, 16) = -1 ENETUNREACH (x)
12 connect(4, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110) = -1 ENOENT (No such file or directory)
12 connect(5, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 0
12 sendto(5, "\205\372\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1", 29, MSG_NOSIGNAL, NULL, 0) = 29
12 connect(5, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.1")}, 16) = 0
12 unshare(CLONE_NEWUSER) = -1 EPERM (Operation not permitted)
12 rename("/data/a", "/data/b") = 0
12 execve("/bin/sh", ["sh"], 0x7) = 0
12 +++ exited with 0 +++
"#;

    #[test]
    fn understands_what_the_server_did() {
        let recorded = understand(TEXT, &["/opt".to_owned()], "/somewhere/server");
        let trace = &recorded.trace;
        assert_eq!(trace.read, ["/etc/passwd"]);
        assert_eq!(trace.written, [r#"/data/new \"x\""#, "/data/b"]);
        assert_eq!(trace.denied, ["/etc/shadow", "/pwn"]);
        assert_eq!(trace.programs, ["/bin/sh"]);
        assert_eq!(trace.connections, ["198.51.100.7:80", "[2001:db8::1]:443"]);
        assert_eq!(recorded.names, ["example.com"]);
        assert_eq!(recorded.privileged, ["unshare"]);
        assert_eq!(recorded.too_many_files, 1);
    }

    #[test]
    fn what_keeps_it_apart_is_not_the_server() {
        let text = "1 execve(\"/opt/server\", [], 0) = 0\n1 mount(NULL) = 0\n1 execve(\"/.portcullis\", [], 0) = 0\n\
                    1 unshare(1) = 0\n1 execve(\"/opt/server\", [], 0) = 0\n1 ptrace(1) = 0\n";
        assert_eq!(understand(text, &[], "server").privileged, ["ptrace"]);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(understand("", &[], "server"), Recorded::default());
        assert_eq!(understand("garbage (((\n= = =\n", &[], "server"), Recorded::default());
    }
}
