"""What anybody needs to test a search method or a cost model of their own: problems, searches, conformance tests."""
