package build

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// compile builds the component's programs into dir.
func (c Component) compile(source, dir string, output io.Writer) error {
	module := filepath.Join(source, c.Module)
	linker, err := c.linkerFlags(module)
	if err != nil {
		return err
	}
	arguments := append([]string{"build", "-ldflags=" + linker}, flags...)
	if c.Tags != "" {
		arguments = append(arguments, "-tags="+c.Tags)
	}
	if len(c.Replaced) > 0 {
		vendored, overlay, err := c.vendor(module, output)
		defer os.RemoveAll(vendored)
		if err != nil {
			return err
		}
		module = vendored
		arguments = append(arguments, "-mod=vendor", "-overlay="+overlay)
	}
	for _, program := range sortedKeys(c.Programs) {
		command := append(append([]string{}, arguments...), "-o", filepath.Join(dir, program), c.Programs[program])
		if err := goCommand(module, output, command...); err != nil {
			return fmt.Errorf("build %s: %w", program, err)
		}
	}
	return nil
}

// linkerFlags set the version variables.
func (c Component) linkerFlags(module string) (string, error) {
	if len(c.Versions) == 0 {
		return linkerFlags, nil
	}
	content, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return "", err
	}
	all := linkerFlags
	for _, version := range c.Versions {
		value, err := version.value(string(content))
		if err != nil {
			return "", fmt.Errorf("%s: %w", c.Name, err)
		}
		all += fmt.Sprintf(" -X %s=%s", version.Variable, value)
	}
	return all, nil
}

// value finds the module's version in the text of a go.mod and takes the wanted part of it.
func (v Version) value(goMod string) (string, error) {
	for line := range strings.Lines(goMod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) < 2 || fields[0] != v.Module || !strings.HasPrefix(fields[1], "v") {
			continue
		}
		numbers := strings.Split(strings.TrimPrefix(fields[1], "v"), ".")
		switch {
		case v.Part == All:
			return fields[1], nil
		case len(numbers) >= int(v.Part):
			return numbers[v.Part-1], nil
		}
	}
	return "", fmt.Errorf("go.mod requires no version of %s", v.Module)
}

// vendor copies the dependencies to where files may be replaced (the Go tool refuses to replace one in the module
// cache) and writes the overlay that replaces them. The directory is to be removed by the caller, also on error.
func (c Component) vendor(module string, output io.Writer) (dir, overlay string, err error) {
	dir, err = os.MkdirTemp("", "cofferdam-vendor-")
	if err != nil {
		return "", "", err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return dir, "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return dir, "", err
		}
	}
	if err := goCommand(dir, output, "mod", "vendor"); err != nil {
		return dir, "", fmt.Errorf("copy dependencies: %w", err)
	}
	replace := map[string]string{}
	for original, replacement := range c.Replaced {
		path := filepath.Join(dir, "vendor", original)
		if _, err := os.Stat(path); err != nil {
			return dir, "", fmt.Errorf("the file to replace is gone, look whether it still needs replacing: %w", err)
		}
		replace[path] = filepath.Join(module, replacement)
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return dir, "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return dir, overlay, os.WriteFile(overlay, content, 0o644)
}

func goCommand(dir string, output io.Writer, arguments ...string) error {
	command := exec.Command("go", arguments...)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	command.Stdout, command.Stderr = output, output
	return command.Run()
}

// goVersion is the compiler's, which is part of every hash.
func goVersion() (string, error) {
	var output bytes.Buffer
	if err := goCommand("/", &output, "env", "GOVERSION", "GOARCH"); err != nil {
		return "", fmt.Errorf("go does not run: %w: %s", err, output.String())
	}
	return strings.Join(strings.Fields(output.String()), " "), nil
}
