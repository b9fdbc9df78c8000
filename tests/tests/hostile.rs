//! Servers that break every rule. Each harms only itself: a decent server behind the same gateway keeps answering, the
//! agent is told who failed and how, and afterwards the gateway holds no more than before.

mod hostile {
    mod answers;
    mod circuit;
    mod connections;
    mod lists;
    mod processes;
    mod refusals;
    mod siege;
    mod sizes;
    mod streams;
}
