package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// profiled runs work and leaves in folder where its processor time and its
// allocations went, as cpu.pprof and allocs.pprof: `go tool pprof` reads them.
func profiled(folder string, work func() error) (err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make folder of profiles: %w", err)
	}
	cpu, err := os.Create(filepath.Join(folder, "cpu.pprof"))
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	runtime.MemProfileRate = 64 << 10 // before there is much to count
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return errors.Join(fmt.Errorf("write profile: %w", err), cpu.Close())
	}
	err = work()
	pprof.StopCPUProfile()
	return errors.Join(err, cpu.Close(), writeAllocations(filepath.Join(folder, "allocs.pprof")))
}

func writeAllocations(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
		return errors.Join(fmt.Errorf("write profile: %w", err), f.Close())
	}
	return f.Close()
}
