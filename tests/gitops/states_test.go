// Package gitops holds the statuses that the controller writes to the programs by which GitOps tools read them: kstatus,
// which Flux and Helm wait by, and the Lua of deploy/argocd/health.yaml in the interpreter that Argo CD runs it in.
package gitops

import (
	"os"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// The snapshot of the controller's own test, which says of each state what kstatus has to make of it.
const states = "../../src/controller/agent_run/status/snapshots/cofferdam_controller__agent_run__status__tests__states.snap"

type state struct {
	Name, KStatus, Argo string
	Status              map[string]any
}

func read(t *testing.T) []state {
	t.Helper()
	text, err := os.ReadFile(states)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(string(text), "---\n", 3)
	// As Kubernetes' clients read it: whole numbers are int64.
	var list []any
	if err := json.Unmarshal([]byte(parts[len(parts)-1]), &list); err != nil {
		t.Fatal(err)
	}
	var read []state
	for _, each := range list {
		each := each.(map[string]any)
		read = append(read, state{
			Name: each["name"].(string), KStatus: each["kstatus"].(string), Argo: each["argo"].(string),
			Status: each["status"].(map[string]any),
		})
	}
	if len(read) < 8 {
		t.Fatalf("only %d states", len(read))
	}
	return read
}

func run(of map[string]any, generation int64) map[string]any {
	object := map[string]any{
		"apiVersion": "cofferdam.dev/v1alpha1", "kind": "AgentRun",
		"metadata": map[string]any{"name": "run", "namespace": "team-a", "generation": generation},
	}
	if of != nil {
		object["status"] = of
	}
	return object
}

// What the API server gives a run that no controller has seen: the default of the schema.
func untouched(t *testing.T) map[string]any {
	t.Helper()
	return definition(t, "agentruns")["status"].(map[string]any)["default"].(map[string]any)
}

func definition(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../crds/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd map[string]any
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	version := crd["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
	return version["schema"].(map[string]any)["openAPIV3Schema"].(map[string]any)["properties"].(map[string]any)
}

func compute(t *testing.T, object map[string]any) string {
	t.Helper()
	result, err := status.Compute(&unstructured.Unstructured{Object: object})
	if err != nil {
		t.Fatal(err)
	}
	return result.Status.String()
}

func TestKstatus(t *testing.T) {
	for _, state := range read(t) {
		t.Run(state.Name, func(t *testing.T) {
			if got := compute(t, run(state.Status, 1)); got != state.KStatus {
				t.Errorf("%s, wanted %s", got, state.KStatus)
			}
			// A change that nobody has seen yet is in progress, whatever was before.
			if got := compute(t, run(state.Status, 2)); got != "InProgress" {
				t.Errorf("%s with a newer generation", got)
			}
		})
	}
	if got := compute(t, run(untouched(t), 1)); got != "InProgress" {
		t.Errorf("%s for a run that is new", got)
	}
}

// The scripts of the file, by kind.
func scripts(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/argocd/health.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	scripts := map[string]string{}
	for key, script := range file.Data {
		kind, found := strings.CutPrefix(key, "resource.customizations.health.cofferdam.dev_")
		if !found {
			t.Fatalf("%s is no health", key)
		}
		scripts[kind] = script
	}
	return scripts
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, each := range value {
			table.RawSetString(key, toLua(state, each))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, each := range value {
			table.Append(toLua(state, each))
		}
		return table
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	default:
		return lua.LNil
	}
}

// health is what a script says of an object, with the libraries that Argo CD gives scripts.
func health(t *testing.T, script string, object map[string]any) (string, string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	table, is := state.Get(-1).(*lua.LTable)
	if !is {
		t.Fatalf("it returned %s", state.Get(-1).Type())
	}
	return table.RawGetString("status").String(), table.RawGetString("message").String()
}

func TestArgoCD(t *testing.T) {
	script := scripts(t)["AgentRun"]
	for _, state := range read(t) {
		t.Run(state.Name, func(t *testing.T) {
			got, message := health(t, script, run(state.Status, 1))
			if got != state.Argo || message != state.Status["message"] {
				t.Errorf("%s (%s), wanted %s (%v)", got, message, state.Argo, state.Status["message"])
			}
			if got, _ := health(t, script, run(state.Status, 2)); got != "Progressing" {
				t.Errorf("%s with a newer generation", got)
			}
		})
	}
	for name, of := range map[string]map[string]any{"new": untouched(t), "without status": nil} {
		if got, _ := health(t, script, run(of, 1)); got != "Progressing" {
			t.Errorf("%s for a run that is %s", got, name)
		}
	}
	for _, kind := range []string{"SandboxPolicy", "ClusterSandboxPolicy", "SandboxCredential"} {
		for status, wanted := range map[string]string{"True": "Healthy", "False": "Degraded", "Unknown": "Progressing"} {
			condition := map[string]any{"type": "Ready", "status": status, "reason": "X", "message": "why"}
			object := map[string]any{"metadata": map[string]any{}, "status": map[string]any{"conditions": []any{condition}}}
			if got, message := health(t, scripts(t)[kind], object); got != wanted || message != "why" {
				t.Errorf("%s (%s) for a %s whose Ready is %s", got, message, kind, status)
			}
			object["metadata"] = map[string]any{"generation": int64(2)}
			object["status"].(map[string]any)["observedGeneration"] = int64(1)
			if got, _ := health(t, scripts(t)[kind], object); got != "Progressing" {
				t.Errorf("%s for a %s with a newer generation", got, kind)
			}
		}
	}
}
