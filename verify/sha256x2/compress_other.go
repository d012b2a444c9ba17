//go:build !amd64

package sha256x2

// compress is not called where supported says no.
func compress(*[2]state, *byte, *byte, int) {}

func supported() bool { return false }
