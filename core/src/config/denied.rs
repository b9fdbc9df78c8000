//! Environment variables that make a program run other code than its own, and are refused unless allowed by name.
//!
//! The list is about what a pasted configuration can do through a variable alone: loaders, interpreters, package
//! managers' sources, and tools that start other programs. It is no sandbox: `command` itself says what runs.

/// Names that are refused. Compared without case, since package managers and Windows do so too.
const NAMES: &[&str] = &[
    // How programs are found, and shells.
    "BASHOPTS",
    "BASH_ENV",
    "CDPATH",
    "COMSPEC",
    "ENV",
    "IFS",
    "PATH",
    "PATHEXT",
    "PROMPT_COMMAND",
    "PS4",
    "PSMODULEPATH",
    "SHELL",
    "SHELLOPTS",
    "ZDOTDIR",
    // The C library and what loads modules by variable.
    "GCONV_PATH",
    "GIO_EXTRA_MODULES",
    "GLIBC_TUNABLES",
    "GTK_MODULES",
    "LOCPATH",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "QT_PLUGIN_PATH",
    // JavaScript.
    "BUN_OPTIONS",
    "ELECTRON_RUN_AS_NODE",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    // Python, and where its packages come from.
    "PYTHONBREAKPOINT",
    "PYTHONEXECUTABLE",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONWARNINGS",
    "UV_CONFIG_FILE",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_PYTHON",
    // Other languages.
    "BUNDLE_GEMFILE",
    "CLASSPATH",
    "DOTNET_ADDITIONAL_DEPS",
    "DOTNET_SHARED_STORE",
    "DOTNET_STARTUP_HOOKS",
    "GEM_HOME",
    "GEM_PATH",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERL5SHELL",
    "PERLLIB",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "RUBYLIB",
    "RUBYOPT",
    "RUBYSHELL",
    "R_ENVIRON",
    "R_ENVIRON_USER",
    "R_PROFILE",
    "R_PROFILE_USER",
    "_JAVA_OPTIONS",
    // Tools that start others.
    "BROWSER",
    "EDITOR",
    "GIT_ASKPASS",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "GIT_PROXY_COMMAND",
    "GIT_SEQUENCE_EDITOR",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_TEMPLATE_DIR",
    "LESSCLOSE",
    "LESSOPEN",
    "MANPAGER",
    "PAGER",
    "SSH_ASKPASS",
    "SUDO_ASKPASS",
    "VISUAL",
];

/// Beginnings of names that are refused.
const PREFIXES: &[&str] = &[
    "BASH_FUNC_",
    "BUN_CONFIG_",
    "CORECLR_",
    "COR_",
    "DYLD_",
    "GIT_CONFIG",
    "LD_",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "NPM_CONFIG_",
    "PIP_",
    "YARN_",
];

/// Returns whether a variable is refused unless it is allowed by name.
pub(super) fn is_denied(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_run_code_are_denied() {
        for name in [
            "LD_PRELOAD",
            "LD_AUDIT",
            "DYLD_INSERT_LIBRARIES",
            "NODE_OPTIONS",
            "PATH",
            "Path",
            "npm_config_registry",
        ] {
            assert!(is_denied(name), "{name}");
        }
    }

    #[test]
    fn ordinary_variables_are_not() {
        for name in [
            "TZ",
            "GITHUB_TOKEN",
            "HOME",
            "PYTHONUNBUFFERED",
            "NODE_ENV",
            "HTTPS_PROXY",
            "DATABASE_PATH",
            "ENVIRONMENT",
        ] {
            assert!(!is_denied(name), "{name}");
        }
    }
}
