//! Test support shared by the workspace.

#![deny(missing_docs)]
