/* SPDX-License-Identifier: MIT
 * The frozen program's main(), in the place of PyInstaller's bootloader, linked with the interpreter into one file.
 *
 * PyInstaller's serves programs of any kind: it executes itself a second time to set LD_LIBRARY_PATH, opens libpython, and
 * unpacks what precedes the first module. Here the modules (PyInstaller's PYZ archive) are read-only data of this file.
 * bootloader.py compiles this; the names in capitals are files: the code (marshal) of modules and scripts, and the archive.
 */
#include <Python.h>
#include <marshal.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define INCLUDE(name, file)                                                                                                    \
    __asm__(".section .rodata\n.balign 64\n" #name ": .incbin \"" file "\"\n" #name "_end: .byte 0\n.previous\n");             \
    extern const char name[], name##_end[]
INCLUDE(encodings_code, ENCODINGS);
INCLUDE(importer_code, IMPORTER);
INCLUDE(main_code, MAIN);
INCLUDE(archive, ARCHIVE);

INCLUDE(bootstrap_code, BOOTSTRAP);
INCLUDE(external_code, EXTERNAL);
INCLUDE(abc_code, ABC);
INCLUDE(io_code, IO);

/*
 * In the place of CPython's frozen.o and deepfreeze.o (Python/frozen.c): what is imported before our importer is there, and
 * nothing else. CPython 3.11 and 3.12 hold thirty modules as a megabyte of objects, each of which the loader must relocate,
 * and which Python then interns, at every start, imported or not.
 */
struct _module_alias {
    const char *name, *orig;
};
static const struct _module_alias aliases[] = {
    {"_frozen_importlib", "importlib._bootstrap"},
    {"_frozen_importlib_external", "importlib._bootstrap_external"},
    {NULL, NULL},
};
static struct _frozen bootstrap[3], library[4], none[1];
const struct _module_alias *_PyImport_FrozenAliases = aliases;
const struct _frozen *_PyImport_FrozenBootstrap = bootstrap, *_PyImport_FrozenStdlib = library, *_PyImport_FrozenTest = none;
const struct _frozen *PyImport_FrozenModules = NULL;

int _Py_Deepfreeze_Init(void)
{
    return 0;
}

void _Py_Deepfreeze_Fini(void)
{
}

static void put(struct _frozen *to, const char *name, const char *code, const char *end)
{
    to->name = name;
    to->code = (const unsigned char *)code;
    to->size = end - code;
}

static void fill_tables(void)
{
    put(&bootstrap[0], "_frozen_importlib", bootstrap_code, bootstrap_code_end);
    put(&bootstrap[1], "_frozen_importlib_external", external_code, external_code_end);
    put(&library[0], "encodings", encodings_code, encodings_code_end);
    put(&library[1], "abc", abc_code, abc_code_end);
    put(&library[2], "io", io_code, io_code_end);
}

/* A file's bytes to change and nothing else: with `verbose=1` the interpreter says each import, as python -v does. */
static const volatile char verbose[] = "rootfall bootloader verbose=0";

static void refuse(const char *why)
{
    fprintf(stderr, "rootfall: the frozen program does not start: %s\n", why);
    _exit(1);
}

static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        refuse(status.err_msg ? status.err_msg : "no reason given");
}

/* The directory of this file, links followed. PID 1 has no /proc yet: then it is what the kernel executed (getauxval(3)). */
static void find_home(char home[PATH_MAX])
{
    const char *executed = (const char *)getauxval(AT_EXECFN);
    char *slash;

    if (realpath("/proc/self/exe", home) == NULL && (executed == NULL || realpath(executed, home) == NULL))
        refuse("it cannot find itself");
    slash = strrchr(home, '/');
    *(slash == home ? slash + 1 : slash) = '\0';
}

static void set(PyConfig *config, wchar_t **field, const char *value)
{
    check(PyConfig_SetBytesString(config, field, value));
}

static void add_path(PyConfig *config, const char *path)
{
    wchar_t *wide = Py_DecodeLocale(path, NULL);

    if (wide == NULL)
        refuse("no memory");
    check(PyWideStringList_Append(&config->module_search_paths, wide));
    PyMem_RawFree(wide);
}

static void start(int argc, char **argv, const char *home)
{
    char path[PATH_MAX + 64];
    PyPreConfig before;
    PyConfig config;

    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    check(Py_PreInitialize(&before));
    PyConfig_InitIsolatedConfig(&config);
    config.parse_argv = 0;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.optimization_level = 2;
    /* Without this Python waits for the kernel's entropy pool: about one second of a cold boot. */
    config.use_hash_seed = 1;
    config.hash_seed = 0;
    config.install_signal_handlers = 1;
    config.verbose = verbose[sizeof(verbose) - 2] == '1';
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    snprintf(path, sizeof(path), "%s/rootfall", home);
    set(&config, &config.executable, path);
    set(&config, &config.base_executable, path);
    set(&config, &config.prefix, home);
    set(&config, &config.base_prefix, home);
    set(&config, &config.exec_prefix, home);
    set(&config, &config.base_exec_prefix, home);
    set(&config, &config.stdlib_dir, home);
    config.module_search_paths_set = 1;
    snprintf(path, sizeof(path), "%s/_internal/python%d.%d/lib-dynload", home, PY_MAJOR_VERSION, PY_MINOR_VERSION);
    add_path(&config, path);
    snprintf(path, sizeof(path), "%s/_internal", home);
    add_path(&config, path);
    fill_tables();
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
}

/* Run one of our two scripts as __main__. Where it raises, Python prints that, or ends for SystemExit. */
static int run(const char *code, const char *end)
{
    PyObject *module = PyImport_AddModule("__main__");
    PyObject *script = module ? PyMarshal_ReadObjectFromString(code, end - code) : NULL;
    PyObject *done = script ? PyEval_EvalCode(script, PyModule_GetDict(module), PyModule_GetDict(module)) : NULL;

    if (done == NULL)
        PyErr_Print();
    return done == NULL;
}

static void give(const char *name, PyObject *value)
{
    if (value == NULL || PySys_SetObject(name, value) != 0)
        refuse("no memory");
    Py_DECREF(value);
}

int main(int argc, char **argv)
{
    char home[PATH_MAX], internal[PATH_MAX + 16];

    find_home(home);
    start(argc, argv, home);
    snprintf(internal, sizeof(internal), "%s/_internal", home);
    give("_MEIPASS", PyUnicode_DecodeFSDefault(internal));
    give("_rootfall_archive", PyMemoryView_FromMemory((char *)archive, archive_end - archive, PyBUF_READ));
    if (run(importer_code, importer_code_end) || run(main_code, main_code_end))
        return 1;
    return Py_FinalizeEx() < 0; /* writes out what print() holds */
}
