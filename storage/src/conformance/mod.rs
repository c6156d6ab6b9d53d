//! What every adapter must do, as suites that take any adapter.
