"""What tests of several folders share: small hosts, configs, runs and files."""
