package atomicfile

// BreakForTest closes the file under f, so that its next write fails.
func BreakForTest(f *File) { f.f.Close() }
