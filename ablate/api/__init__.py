"""The functions behind both `import ablate` and the command line. The commands parse, call one of them and print."""
