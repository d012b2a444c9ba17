package sha256x2

// compress mixes as many blocks of two messages into their states.
//
//go:noescape
func compress(states *[2]state, a, b *byte, blocks int)

// cpuid is ebx and ecx of CPUID, of subleaf 0.
func cpuid(leaf uint32) (b, c uint32)

// supported reports whether the processor has the instructions, see CPUID in the
// Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
func supported() bool {
	const ssse3, sse41, sha = 1 << 9, 1 << 19, 1 << 29
	_, features := cpuid(1)
	extended, _ := cpuid(7)
	return features&(ssse3|sse41) == ssse3|sse41 && extended&sha != 0
}
