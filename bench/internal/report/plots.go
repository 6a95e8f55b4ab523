package report

import (
	"fmt"
	"os"
	"path/filepath"
)

// Write puts table.md, results.json and the plots into dir.
func (r *Results) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	table, err := os.Create(filepath.Join(dir, "table.md"))
	if err != nil {
		return err
	}
	defer table.Close()
	if err := r.WriteMarkdown(table); err != nil {
		return err
	}
	figures, err := os.Create(filepath.Join(dir, "results.json"))
	if err != nil {
		return err
	}
	defer figures.Close()
	if err := r.WriteJSON(figures); err != nil {
		return err
	}
	for name, plot := range r.plots() {
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), []byte(plot), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plots are those that have something in them, by name.
func (r *Results) plots() map[string]string {
	plots := make(map[string]string)
	for _, p := range barPlots {
		if svg := r.drawBars(p); svg != "" {
			plots[p.file] = svg
		}
	}
	for _, g := range growths {
		if svg := r.drawLines(g); svg != "" {
			plots["by-"+g.file] = svg
		}
	}
	return plots
}

// count is a number as an axis names it: 4 Ki, 1 Mi, 10k.
func count(v int) string {
	switch {
	case v >= 1<<20 && v%(1<<20) == 0:
		return fmt.Sprintf("%d Mi", v>>20)
	case v >= 1<<10 && v%(1<<10) == 0:
		return fmt.Sprintf("%d Ki", v>>10)
	case v >= 1000 && v%1000 == 0:
		return fmt.Sprintf("%d k", v/1000)
	}
	return fmt.Sprint(v)
}
