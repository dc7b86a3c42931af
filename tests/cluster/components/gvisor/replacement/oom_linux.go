// Package sys is compiled in place of containerd's file of the same name, for gVisor's shim only.
//
// The original fails when a score may not be lowered, which takes CAP_SYS_RESOURCE. Where the test cluster runs
// without it (most containers that continuous integration gives out), a sandbox would not start. Here such a
// refusal is passed over: the score only steers which process dies first when memory runs out.
package sys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// The kernel's bounds for oom_score_adj.
const (
	OOMScoreAdjMin = -1000
	OOMScoreAdjMax = 1000
)

func scoreFile(pid int) string { return fmt.Sprintf("/proc/%d/oom_score_adj", pid) }

// AdjustOOMScore sets the score nearest to the one asked for that the kernel knows.
func AdjustOOMScore(pid, score int) error {
	return SetOOMScore(pid, max(OOMScoreAdjMin, min(OOMScoreAdjMax, score)))
}

// SetOOMScore sets the score, and leaves it as it is where setting it is not permitted.
func SetOOMScore(pid, score int) error {
	if score < OOMScoreAdjMin || score > OOMScoreAdjMax {
		return fmt.Errorf("oom score %d is not between %d and %d", score, OOMScoreAdjMin, OOMScoreAdjMax)
	}
	file, err := os.OpenFile(scoreFile(pid), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(strconv.Itoa(score)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// GetOOMScoreAdj reads the score.
func GetOOMScoreAdj(pid int) (int, error) {
	text, err := os.ReadFile(scoreFile(pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(text)))
}
