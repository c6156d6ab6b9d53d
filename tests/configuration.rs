//! The configuration as the command line takes it: from a file, from variables.
#![allow(clippy::unwrap_used)]

mod support;

use support::server::millrace;

/// What a command says that was refused for its configuration.
fn refusal(file: &str, environment: &[(&str, &str)]) -> String {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("millrace.toml");
    std::fs::write(&path, file).unwrap();
    let mut command = millrace(&data.path().join("data"));
    command.env_remove("MILLRACE_LANDING_INTERVAL_S").envs(environment.iter().copied());
    let output = command.args(["domain", "list", "--config"]).arg(&path).output().unwrap();
    assert!(!output.status.success(), "{file} {environment:?} was taken");
    assert!(!data.path().join("data").exists(), "nothing is made before the configuration is right");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_misspelt_key_is_refused_with_the_file_and_the_right_one() {
    let error = refusal("[landing]\nintervall_s = 3\n", &[]);
    for part in ["millrace.toml", "landing.intervall_s", "landing.interval_s"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn numbers_out_of_range_are_refused_from_file_and_variable() {
    for (file, environment) in [
        ("[log]\npartitions = 0\n", &[][..]),
        ("", &[("MILLRACE_LOG_PARTITIONS", "0")]),
        ("[log]\npartitions = 2\n", &[("MILLRACE_LOG_PARTITIONS", "0")]),
    ] {
        let error = refusal(file, environment);
        for part in ["log.partitions", "MILLRACE_LOG_PARTITIONS", "is 0", "1 to 256"] {
            assert!(error.contains(part), "{file} {environment:?} misses {part}: {error}");
        }
    }
    let error = refusal("", &[("MILLRACE_LANDING_INTERVAL_S", "soon")]);
    assert!(error.contains("MILLRACE_LANDING_INTERVAL_S"), "{error}");
}
