/* Precision-recall curves as SVG; see the header.
 *
 * The lines join the points themselves, not their envelope: what a threshold on the score would
 * give. Each ends in a dot, where every detection above the lowest score is in. IoU 1.0 is left
 * out: no detector draws boxes that equal the labels'. */
#include "dispatcher/eval/curve.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/alloc.h"

enum { CURVES = CLOAK_AP_IOUS - 1 };

/* Places in pixels: the picture, the frame of the plot, the legend. */
static const double WIDTH = 820, HEIGHT = 560;
static const double LEFT = 76, RIGHT = 576, TOP = 76, BOTTOM = 496;
static const double LEGEND = 612;

/* From dark to bright with the threshold, so that neighbours look alike and ends do not; each keeps
 * enough contrast to white for a thin line. */
static const char *const COLOURS[CURVES] = {
    "#0d2a6b", "#4b1d91", "#8e1a8f", "#c0306f", "#dd5347", "#e07b1f", "#b79200"};

static double x_of(double recall) {
    return LEFT + recall * (RIGHT - LEFT);
}

static double y_of(double precision) {
    return BOTTOM - precision * (BOTTOM - TOP);
}

static void draw_head(FILE *to, const cloak_ap *ap, size_t photos) {
    fprintf(to,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" "
        "viewBox=\"0 0 %g %g\" role=\"img\" aria-labelledby=\"title about\" "
        "font-family=\"'DejaVu Sans', 'Segoe UI', Helvetica, Arial, sans-serif\" "
        "font-size=\"13\" fill=\"#222\">\n"
        "<title id=\"title\">Precision and recall of the face detector</title>\n"
        "<desc id=\"about\">One curve per IoU threshold from 0.3 to 0.9; the legend gives each "
        "one's average precision and recall.</desc>\n"
        "<rect width=\"%g\" height=\"%g\" fill=\"#fff\"/>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    fprintf(to,
        "<text x=\"%g\" y=\"34\" font-size=\"18\" font-weight=\"bold\">Precision and recall of the "
        "face detector</text>\n"
        "<text x=\"%g\" y=\"56\" fill=\"#555\">%zu photos, %llu labelled faces, %llu detections "
        "with a score above 0.05</text>\n",
        LEFT, LEFT, photos, (unsigned long long)ap->faces,
        (unsigned long long)cloak_ap_detections(ap));
}

static void draw_axes(FILE *to) {
    fprintf(to, "<g stroke=\"#e3e3e3\">\n");
    for (int tick = 1; tick < 10; tick++)
        fprintf(to, "<path d=\"M%.1f %gV%gM%g %.1fH%g\"%s/>\n", x_of(tick / 10.), TOP, BOTTOM, LEFT,
            y_of(tick / 10.), RIGHT, tick % 2 ? " stroke-dasharray=\"2 3\"" : "");
    fprintf(to, "</g>\n<g stroke=\"#555\">\n");
    for (int tick = 0; tick <= 10; tick += 2)
        fprintf(to, "<path d=\"M%.1f %gv6M%g %.1fh-6\"/>\n", x_of(tick / 10.), BOTTOM, LEFT,
            y_of(tick / 10.));
    fprintf(to,
        "<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" fill=\"none\"/>\n</g>\n"
        "<g fill=\"#444\">\n",
        LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP);
    for (int tick = 0; tick <= 10; tick += 2)
        fprintf(to,
            "<text x=\"%.1f\" y=\"%g\" text-anchor=\"middle\">%.1f</text>"
            "<text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%.1f</text>\n",
            x_of(tick / 10.), BOTTOM + 22, tick / 10., LEFT - 11, y_of(tick / 10.) + 4.5,
            tick / 10.);
    fprintf(to,
        "</g>\n<text x=\"%g\" y=\"%g\" text-anchor=\"middle\" font-size=\"14\">Recall</text>\n"
        "<text transform=\"translate(%g %g) rotate(-90)\" text-anchor=\"middle\" "
        "font-size=\"14\">Precision</text>\n",
        (LEFT + RIGHT) / 2, BOTTOM + 46, LEFT - 48, (TOP + BOTTOM) / 2);
}

/* A line through the points, level from recall 0 to the first of them. Points that a pixel's tenth
 * cannot tell apart are left out, but never the last. */
static void draw_curve(FILE *to, const cloak_ap *ap, int i) {
    cloak_ap_point *points = cloak_alloc(CLOAK_AP_BINS * sizeof *points);
    size_t count = ap->faces ? cloak_ap_curve(ap, i, points) : 0;
    double x = LEFT, y = 0;
    if (count) {
        fprintf(to, "<path fill=\"none\" stroke=\"%s\" d=\"M%.1f %.1f", COLOURS[i], LEFT,
            y_of(points[0].precision));
        for (size_t p = 0; p < count; p++) {
            double to_x = x_of(points[p].recall), to_y = y_of(points[p].precision);
            if (p + 1 < count && fabs(to_x - x) < .1 && fabs(to_y - y) < .1)
                continue;
            fprintf(to, "L%.1f %.1f", to_x, to_y);
            x = to_x;
            y = to_y;
        }
        fprintf(to,
            "\"/>\n<circle r=\"3.5\" stroke=\"#fff\" cx=\"%.1f\" cy=\"%.1f\" fill=\"%s\"/>\n", x, y,
            COLOURS[i]);
    }
    free(points);
}

static void draw_legend(FILE *to, const cloak_ap *ap) {
    double y = TOP + 14;
    fprintf(to,
        "<g font-weight=\"bold\"><text x=\"%g\" y=\"%g\">IoU</text>"
        "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">AP</text>"
        "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">Recall</text></g>\n",
        LEGEND + 34, y, LEGEND + 118, y, LEGEND + 178, y);
    for (int i = 0; i < CURVES; i++) {
        y += 26;
        fprintf(to,
            "<path d=\"M%g %gh24\" stroke=\"%s\" stroke-width=\"3\"/>"
            "<text x=\"%g\" y=\"%g\">%s</text>",
            LEGEND, y - 4.5, COLOURS[i], LEGEND + 34, y, cloak_ap_iou_word(i));
        if (ap->faces)
            fprintf(to,
                "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">%.3f</text>"
                "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">%.3f</text>",
                LEGEND + 118, y, cloak_ap_average(ap, i), LEGEND + 178, y, cloak_ap_recall(ap, i));
        fprintf(to, "\n");
    }
    fprintf(to,
        "<circle cx=\"%g\" cy=\"%g\" r=\"3.5\" fill=\"#555\"/>"
        "<text fill=\"#555\" font-size=\"12\"><tspan x=\"%g\" y=\"%g\">all detections, down "
        "to</tspan>"
        "<tspan x=\"%g\" dy=\"16\">a score of 0.05</tspan></text>\n",
        LEGEND + 12, y + 31.5, LEGEND + 34, y + 36, LEGEND + 34);
}

void cloak_eval_draw(FILE *to, const cloak_ap *ap, size_t photos) {
    draw_head(to, ap, photos);
    draw_axes(to);
    fprintf(to, "<g stroke-width=\"2\" stroke-linejoin=\"round\">\n");
    for (int i = 0; i < CURVES; i++)
        draw_curve(to, ap, i);
    fprintf(to, "</g>\n");
    draw_legend(to, ap);
    if (!ap->faces)
        fprintf(to,
            "<text x=\"%g\" y=\"%g\" text-anchor=\"middle\" font-size=\"14\" fill=\"#555\">"
            "no labelled face: no curve</text>\n",
            (LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2);
    fprintf(to, "</svg>\n");
}
