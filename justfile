# Every command a person runs. `.ci/run` calls the same ones.

# Check, test and show nothing out of order
default: check test

# Format and lint, warnings denied
check:
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings

# All tests that need no service
test:
    cargo test --workspace

# The stage functions as Arroyo's libraries, called through their C interface
arroyo:
    cargo clippy --manifest-path udfs/arroyo/harness/Cargo.toml --all-targets -- -D warnings
    cargo test --manifest-path udfs/arroyo/harness/Cargo.toml

# The tests of clients and readers written by others
clients:
    tests/python/run

# 6,000 real messages, into corpus/
corpus:
    tests/fetch-corpus

# The whole corpus through the SMTP port, in release
corpus-test: corpus
    cargo test --release --test corpus -- --ignored --nocapture

# The adapters over real services, and PyIceberg on each catalog; `just clients` makes its Python
services:
    MILLRACE_PYTHON=${MILLRACE_PYTHON:-$PWD/target/python/bin/python} compose/native/test cargo test --workspace \
        --no-fail-fast --lib --test kafka_conformance --test kafka_hold --test kafka_schemas --test kafka_retention \
        --test redis_conformance --test redis_failures --test s3_conformance --test s3_failures -- --ignored
    compose/native/test cargo test --manifest-path udfs/arroyo/harness/Cargo.toml --test cluster -- --ignored

# A cluster under load, with one failure of every kind
failures-quick:
    cargo build
    tests/cluster/run --quick

# A cluster under load whose parts fail, each in turn; writes the table of docs/failures.md
failures:
    cargo build
    tests/cluster/run --write docs/failures.md

# Measure against smtp-sink and Postfix, in one run
bench: corpus
    cargo build --release
    cargo run --release -p millrace-bench -- --millrace target/release/millrace

# Licences and advisories of the dependencies
deny:
    cargo deny check
