package model_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/testenv"
)

// quick are the proofs that take seconds. The others take minutes: SP_PROOFS=1 has them as well.
var quick = map[string]bool{
	"contexts.pv": true, "flows.pv": true, "hiding-reach.pv": true, "resume.pv": true,
	"rotation.pv": true, "ticket.pv": true,
}

// TestProofs proves what PROOFS.md says, and that each mutation breaks what it should. ProVerif is
// not in Debian, so a machine without it skips this, in continuous integration too.
func TestProofs(t *testing.T) {
	if _, err := exec.LookPath("proverif"); err != nil {
		t.Skip("skip: proverif is not on the PATH; PROOFS.md says which one")
	}
	models, err := filepath.Glob("*.pv")
	if err != nil || len(models) == 0 {
		t.Fatalf("no models: %v", err)
	}
	for _, model := range models {
		t.Run(strings.TrimSuffix(model, ".pv"), func(t *testing.T) {
			if !quick[model] && os.Getenv("SP_PROOFS") != "1" {
				t.Skip("skip: it takes minutes; SP_PROOFS=1 with -timeout 1h runs it")
			}
			out, err := exec.CommandContext(t.Context(), "./prove", model).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			t.Logf("\n%s", out)
		})
	}
}

// proverif is a program that takes the place of the real one.
const proverif = `#!%s
results='%s'
grep -q '^query 3' "$3" && results='%s'
for r in $results; do
    case $r in
    unknown) echo "RESULT q cannot be proved." ;;
    *) echo "RESULT q is $r." ;;
    esac
done
`

// TestProveNotices has a proverif that says what the test tells it to. The script passes if that is
// what the model states, and not otherwise.
func TestProveNotices(t *testing.T) {
	bash := testenv.NeedTool(t, "bash")
	testenv.NeedTool(t, "timeout")
	const model = `(*? one: true *)
query 1;
(*? two: false *)
query 2.
  (*~ m: query 3. *)
(*! m: one
    two=unknown *)
`
	noop := strings.ReplaceAll(model, "query 3", "query 2")
	for name, test := range map[string]struct {
		model       string
		asIs, under string // results as it is, and under the mutation
		want        string
	}{
		"as stated":       {model, "true false", "false unknown", "all results are as stated"},
		"does not hold":   {model, "false false", "false unknown", "one: stated true, found false"},
		"does not bite":   {model, "true false", "true unknown", "one: stated false, found true"},
		"bites elsewhere": {model, "true false", "false false", "two: stated unknown, found false"},
		"says less":       {model, "true", "false unknown", "two: stated false, found nothing"},
		"says more":       {model, "true false true", "false unknown", "more than queries: true"},
		"no such mutation": {
			model + "(*! n: one *)\n", "true false", "false unknown", "has the mark of n",
		},
		"no such query":     {model + "(*! m+m: six *)\n", "true false", "false unknown", "six: stated"},
		"mutation is no-op": {noop, "true false", "false unknown", "one: stated false, found true"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script, err := os.ReadFile("prove")
			if err != nil {
				t.Fatal(err)
			}
			fake := fmt.Sprintf(proverif, bash, test.asIs, test.under)
			for file, content := range map[string]string{
				"prove": string(script), "proverif": fake, "m.pv": test.model, "channel.pvl": "\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), bash, filepath.Join(dir, "prove"))
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if (err == nil) != (name == "as stated") || !strings.Contains(string(out), test.want) {
				t.Errorf("%v, want %q:\n%s", err, test.want, out)
			}
		})
	}
}
