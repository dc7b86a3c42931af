package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// decisive are the components whose change makes an earlier result worthless.
var decisive = []string{"enforcer", "network-policy-cases", "kubernetes", "containerd"}

// stamp remembers successes in the cache.
type stamp struct {
	cache string
	hash  string
}

// newStamp names the stamp by the builds that the cases run with, and by the choice of the short ones.
func newStamp(cache string, builds map[string]string) stamp {
	digest := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(builds)) {
		if slices.Contains(decisive, name) {
			fmt.Fprintln(digest, name, builds[name])
		}
	}
	fmt.Fprintln(digest, strings.Join(short, "\n"))
	return stamp{cache, hex.EncodeToString(digest.Sum(nil))[:16]}
}

func (s stamp) path(short bool) string {
	kind := "full"
	if short {
		kind = "short"
	}
	return filepath.Join(s.cache, "network-policy-passed-"+kind+"-"+s.hash)
}

// read gives the summary of an earlier success; a full one answers for a short one too.
func (s stamp) read(short bool) (string, bool) {
	text, err := os.ReadFile(s.path(false))
	if errors.Is(err, fs.ErrNotExist) && short {
		text, err = os.ReadFile(s.path(true))
	}
	return strings.TrimSpace(string(text)), err == nil
}

// write remembers a success.
func (s stamp) write(short bool, summary string) error {
	return os.WriteFile(s.path(short), []byte(summary+"\n"), 0o644)
}
