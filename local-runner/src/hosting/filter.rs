//! The system calls that no server needs, and that could lead out of a sandbox.
//!
//! **What is refused fails as it would without the right to it**, so that programs go on. `clone3` is said not to exist: its
//! arguments cannot be looked at, and programs then use `clone`, whose can.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// Ways to look into other processes, to change the kernel or the mounts, and to reach what the kernel exposes most widely.
const REFUSED: [libc::c_long; 46] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// The kinds of sockets that a server may have.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The ways to make other namespaces.
const NAMESPACES: i32 = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// Installs the filters, for this process and all that it becomes and starts.
///
/// # Errors
/// Says why the kernel does not take them.
pub(crate) fn install() -> Result<(), Box<dyn std::error::Error>> {
    // One filter has one answer for all that it refuses.
    apply_filter(&program(refused()?, libc::EPERM)?)?;
    apply_filter(&program(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)?)?;
    Ok(())
}

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

fn program(rules: Rules, error: i32) -> Result<BpfProgram, Box<dyn std::error::Error>> {
    let answer = SeccompAction::Errno(error.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

fn refused() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = REFUSED.into_iter().map(|call| (call, Vec::new())).collect();
    // A socket of no kind that is known.
    let other = FAMILIES.map(|family| condition(0, Is::Ne, family.cast_unsigned().into()));
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(other.into_iter().collect::<Result<_, _>>()?)?]);
    let mut namespaces = Vec::new();
    for bit in (0..i32::BITS).map(|bit| 1 << bit).filter(|bit| NAMESPACES & bit != 0) {
        let bit = u64::from(i32::cast_unsigned(bit));
        namespaces.push(SeccompRule::new(vec![condition(0, Is::MaskedEq(bit), bit)?])?);
    }
    rules.insert(libc::SYS_clone, namespaces);
    // Typing into the terminal that the gateway may run in.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| condition(1, Is::Eq, request));
    let typing = typing.into_iter().map(|request| SeccompRule::new(vec![request?]));
    rules.insert(libc::SYS_ioctl, typing.collect::<Result<_, _>>()?);
    Ok(rules)
}

fn condition(argument: u8, is: Is, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, Length::Dword, is, value)
}
