//! Portcullis on AWS Lambda.

mod aws;
mod table;

fn main() {}
