"""What anybody needs to test a search method of their own: small problems, simulated searches, conformance tests."""
