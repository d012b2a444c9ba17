package test

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// constructors are the calls whose result may be a package-level variable:
// nobody can change it, or, for an error, nobody has a reason to.
var constructors = strings.Fields("errors.New fmt.Errorf regexp.MustCompile strings.NewReplacer template.Must")

// globals returns the package-level variables that the files of one package
// must not have, each with the reason. What may stay: embedded files, checks
// that a type implements an interface, the results of constructors, and
// unexported tables that no code of the package writes to.
func globals(files []source) map[string]string {
	written := map[string]bool{}
	for _, s := range files {
		writes(s.file, written)
	}
	problems := map[string]string{}
	for _, s := range files {
		for _, decl := range s.file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR || embedded(gen.Doc) {
				continue
			}
			for _, spec := range gen.Specs {
				checkSpec(s, spec.(*ast.ValueSpec), written, problems)
			}
		}
	}
	return problems
}

func checkSpec(s source, spec *ast.ValueSpec, written map[string]bool, problems map[string]string) {
	if embedded(spec.Doc) {
		return
	}
	for i, name := range spec.Names {
		var value ast.Expr
		if i < len(spec.Values) {
			value = spec.Values[i]
		}
		if problem := globalProblem(s, name.Name, value, written[name.Name]); problem != "" {
			problems[name.Name] = problem
		}
	}
}

// globalProblem returns why a package-level variable must not be, or "".
func globalProblem(s source, name string, value ast.Expr, written bool) string {
	switch {
	case name == "_":
		return ""
	case name == "version" && s.room() == "cmd" && value == nil:
		return "" // the linker sets it
	case written:
		return "is written to: state belongs into a type"
	case value == nil:
		return "has no value, so it is there to be written to: state belongs into a type"
	}
	switch value := value.(type) {
	case *ast.CallExpr:
		if slices.Contains(constructors, called(value)) {
			return ""
		}
		if _, conversion := value.Fun.(*ast.ArrayType); !conversion {
			return "is the result of a call: make it where it is needed"
		}
	case *ast.CompositeLit:
		if foreign, ok := value.Type.(*ast.SelectorExpr); ok && isSync(foreign) {
			return "is for sharing state: state belongs into a type"
		}
	case *ast.SelectorExpr:
		if strings.HasPrefix(value.Sel.Name, "Err") && strings.HasPrefix(name, "Err") {
			return "" // an error of another package under our name
		}
		return "should be written out where it is used"
	case *ast.BasicLit:
		return "should be a const"
	default:
		return "is neither an error nor a table"
	}
	if ast.IsExported(name) {
		return "is a table that other packages can write to: unexport it, or make it a function"
	}
	return ""
}

func isSync(t *ast.SelectorExpr) bool {
	x, ok := t.X.(*ast.Ident)
	return ok && (x.Name == "sync" || x.Name == "atomic")
}

func embedded(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	return slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// writes adds to names what the functions of the file assign to, in whole or in
// part, or take the address of, and have not declared themselves.
func writes(file *ast.File, names map[string]bool) {
	for _, decl := range file.Decls {
		if function, ok := decl.(*ast.FuncDecl); ok {
			local := declared(function)
			for name := range assigned(function) {
				names[name] = names[name] || !local[name]
			}
		}
	}
}

// assigned returns the names that the function assigns to or takes the address
// of, or of a part of what they stand for.
func assigned(function *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	assign := func(e ast.Expr) {
		if id := rootIdent(e); id != nil {
			names[id.Name] = true
		}
	}
	ast.Inspect(function, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				assign(left)
			}
		case *ast.IncDecStmt:
			assign(n.X)
		case *ast.RangeStmt:
			assign(n.Key)
			assign(n.Value)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				assign(n.X)
			}
		case *ast.CallExpr:
			if slices.Contains([]string{"delete", "clear", "copy"}, called(n)) && len(n.Args) > 0 {
				assign(n.Args[0])
			}
		}
		return true
	})
	return names
}

// declared returns the names of the parameters, results and variables of the
// function.
func declared(function *ast.FuncDecl) map[string]bool {
	names := map[string]bool{}
	declare := func(e ast.Expr) {
		if id, ok := e.(*ast.Ident); ok {
			names[id.Name] = true
		}
	}
	ast.Inspect(function, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, left := range n.Lhs {
					declare(left)
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				declare(n.Key)
				declare(n.Value)
			}
		case *ast.Field:
			for _, name := range n.Names {
				declare(name)
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				declare(name)
			}
		}
		return true
	})
	return names
}

// rootIdent is the variable that e is a part of: x for x.f[i].g.
func rootIdent(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}
