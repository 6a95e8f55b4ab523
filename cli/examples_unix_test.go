//go:build unix

package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/secureportal/sp/internal/metrics"
	"github.com/secureportal/sp/internal/testenv"
)

const (
	dashboardFile = "../examples/grafana-dashboard.json"
	alertsFile    = "../examples/alerts.yml"
	alertsTest    = "testdata/alerts.yml" // for promtool
)

// panel is what a dashboard shows in one place.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr, LegendFormat string }
}

func readDashboard(t *testing.T) (panels []panel, expressions []string) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels      []panel
		Annotations struct{ List []struct{ Expr string } }
		Templating  struct{ List []struct{ Definition string } }
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		expressions = append(expressions, a.Expr)
	}
	for _, v := range d.Templating.List {
		if q, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
			expressions = append(expressions, q[:strings.LastIndex(q, ",")])
		}
	}
	return d.Panels, expressions
}

// labelsOfMetrics returns the labels that each metric has, by its name.
func labelsOfMetrics() map[string][]string {
	target := []string{"job", "instance"} // of Prometheus
	all := map[string][]string{
		"up": target, "sp_portal_ready": {"kind", "name"}, "sp_build_info": {"version", "goversion"},
	}
	metrics.Each(func(s metrics.Sample) {
		name := "sp_" + s.Name
		if strings.HasPrefix(s.Name, "process_") || strings.HasPrefix(s.Name, "go_") {
			name = s.Name
		}
		names := []string{name}
		labels := target
		for _, l := range s.Labels {
			labels = append(labels[:len(labels):len(labels)], l.Name)
		}
		if s.Kind == metrics.KindHistogram {
			names = []string{name + "_bucket", name + "_sum", name + "_count"}
			labels = append(labels[:len(labels):len(labels)], "le")
		}
		for _, name := range names {
			all[name] = append(all[name], labels...)
		}
	})
	for name := range all {
		all[name] = append(all[name], target...)
	}
	return all
}

var (
	metricName  = regexp.MustCompile(`\b(?:sp|go|process)_[a-z_]+\b|\bup\b`)
	selector    = regexp.MustCompile(`\b([a-z_]+)\{([^}]*)\}`)
	labelName   = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	saysTrouble = regexp.MustCompile(`refus|fail|down|lost|bad|dropped|stuck|suspended|displaced`)
	grafanaWord = strings.NewReplacer("$__rate_interval", "5m", "$job", "sp", "$instance", ".*")
)

// TestExamplesNameMetrics has the dashboard and the alerts name metrics that there are, by labels
// that they have.
func TestExamplesNameMetrics(t *testing.T) {
	_, expressions := readDashboard(t)
	alerts, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	inAlerts := 0
	for _, line := range strings.Split(string(alerts), "\n") {
		if metricName.MatchString(line) && strings.Contains(line, "{job=") {
			expressions = append(expressions, strings.TrimPrefix(strings.TrimSpace(line), "expr: "))
			inAlerts++
		}
	}
	if inAlerts < 15 || len(expressions) < 40 {
		t.Fatalf("only %d expressions are found, %d of them of alerts", len(expressions), inAlerts)
	}
	all := fmt.Sprintf("has %d", strings.Count(string(alerts), "- alert: "))
	for _, file := range []string{"../docs/metrics.md", "../docs/operating.md"} {
		if page, err := os.ReadFile(file); err != nil || !strings.Contains(string(page), all) {
			t.Errorf("%s does not say that alerts.yml %s (%v)", file, all, err)
		}
	}
	known, used := labelsOfMetrics(), make(map[string]bool)
	for _, expression := range expressions {
		for _, name := range metricName.FindAllString(expression, -1) {
			if used[name] = true; known[name] == nil {
				t.Errorf("there is no metric %s: %s", name, expression)
			}
		}
		for _, found := range selector.FindAllStringSubmatch(expression, -1) {
			for _, label := range labelName.FindAllStringSubmatch(found[2], -1) {
				if !slices.Contains(known[found[1]], label[1]) {
					t.Errorf("%s has no label %s: %s", found[1], label[1], expression)
				}
			}
		}
	}
	for name := range known { // what counts errors is looked at by somebody
		if saysTrouble.MatchString(name) && !used[name] {
			t.Errorf("nobody looks at %s", name)
		}
	}
}

// TestDashboard has each panel a place of its own, and something to show.
func TestDashboard(t *testing.T) {
	panels, _ := readDashboard(t)
	if len(panels) < 15 {
		t.Fatalf("there are %d panels", len(panels))
	}
	for i, a := range panels {
		if a.Title == "" || a.Type != "row" && len(a.Targets) == 0 || a.GridPos.X+a.GridPos.W > 24 {
			t.Errorf("panel %d: %+v", a.ID, a)
		}
		for _, b := range panels[:i] {
			p, q := a.GridPos, b.GridPos
			if a.ID == b.ID || p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H {
				t.Errorf("%q covers %q", a.Title, b.Title)
			}
		}
	}
}

// TestPromtoolRules has promtool read the alerts, and what the dashboard asks for; and has each
// alert fire in an outage, and none while all is well.
func TestPromtoolRules(t *testing.T) {
	promtool := testenv.NeedTool(t, "promtool")
	_, expressions := readDashboard(t)
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for i, expression := range expressions {
		rules += fmt.Sprintf("  - record: dashboard_%d\n    expr: %q\n",
			i, grafanaWord.Replace(expression))
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "rules", file}, {"check", "rules", alertsFile}, {"test", "rules", alertsTest},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
