"""Values that go on without their graph, going on with it."""
