package vault

import "fmt"

// Config says how much of the vault is held in memory.
type Config struct {
	// Subjects is how many subject keys are held in memory for sure (and for a
	// while up to twice as many), about 130 bytes each. As long as all of a stream's are, new subjects need not wait for
	// ClickHouse while it is away. Default: 200000.
	Subjects int `yaml:"subjects"`
}

// DefaultConfig is what an empty configuration means.
func DefaultConfig() Config { return Config{Subjects: 200_000} }

// Validate returns what is wrong, with the path of its key.
func (c Config) Validate() error {
	if c.Subjects < 1000 || c.Subjects > 100_000_000 {
		return fmt.Errorf("vault.subjects: %d is not between 1000 and 100000000", c.Subjects)
	}
	return nil
}
