package kernel

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSettingsAreRaisedAndPutBack(t *testing.T) {
	root = t.TempDir()
	set := func(name, value string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when, name, want string) {
		t.Helper()
		if got, err := read(name); err != nil || got != want {
			t.Errorf("%s: %s is %q (%v), want %q", when, name, got, err, want)
		}
	}
	set("fs/inotify/max_user_instances", "128")
	set("fs/inotify/max_user_watches", "900000")
	set("kernel/panic", "0")

	record := filepath.Join(t.TempDir(), "kernel.json")
	if err := Save(record); err != nil {
		t.Fatal(err)
	}
	if err := Raise(); err != nil {
		t.Fatal(err)
	}
	expect("raised", "fs/inotify/max_user_instances", "1024")
	expect("high enough before", "fs/inotify/max_user_watches", "900000")
	set("kernel/panic", "10")
	if err := Save(record); err != nil {
		t.Fatal(err)
	}
	if err := Restore(record); err != nil {
		t.Fatal(err)
	}
	expect("put back", "fs/inotify/max_user_instances", "128")
	expect("put back although saved again in between", "kernel/panic", "0")
	if err := Restore(filepath.Join(t.TempDir(), "absent.json")); err != nil {
		t.Errorf("without a record: %v", err)
	}
}
